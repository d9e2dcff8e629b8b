#pragma once

#include <boost/asio/generic/stream_protocol.hpp>

namespace pgleash::console {

/// What the console speaks over: a session's stream, or a client of its own socket.
using StreamProtocol = boost::asio::generic::stream_protocol;
using Socket = StreamProtocol::socket;

}  // namespace pgleash::console
