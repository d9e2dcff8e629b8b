// Boost.JSON without its library: this is this program's one compiled copy.
#include <boost/json/src.hpp>
