// The shorthand of protocol traces, shared with the unit tests of the tracker. Compiled into this
// program too, as each program of tests is built from the sources of one folder.
#include "tests/unit/protocol/trace.cpp"  // NOLINT(bugprone-suspicious-include): see above
