#pragma once

#include "proxy/proxy_header.hpp"
#include "proxy/startup_phase.hpp"

#include <list>
#include <memory>
#include <optional>
#include <string>
#include <utility>

namespace pgleash::proxy {

/// One connection in this phase. Lives in its coroutine's frame; the list knows it for deadlines
/// and for making room.
struct StartupPhase::Starting {
  Starting(StartupPhase& phase, Accepted& accepted)
      : owner(phase),
        flow(std::in_place, phase.share_),
        socket(phase.context_),
        listener(accepted.listener),
        client(to_endpoint(accepted.peer)),
        peer(accepted.peer),
        origin{accepted.peer, is_local(accepted.peer)},
        accepted_at(accepted.at),
        deadline(accepted.at + phase.settings_.listeners[accepted.listener].login_timeout) {
    socket.assign(StreamProtocol{accepted.peer.ss_family, 0}, accepted.fd.release());
    place = owner.starting_.insert(owner.starting_.end(), this);
  }
  ~Starting() {
    owner.starting_.erase(place);
    owner.live_.fetch_sub(1, std::memory_order_relaxed);
  }
  Starting(const Starting&) = delete;
  Starting& operator=(const Starting&) = delete;

  void give_up(AcceptResult why) {
    gave_up = why;
    boost::system::error_code ignored;
    socket.cancel(ignored);  // NOLINT(bugprone-unused-return-value): the wait ends or has ended
  }

  StartupPhase& owner;
  std::optional<LoopShare::Flow> flow;  ///< while it waits for us rather than we for the client
  Socket socket;
  std::size_t listener;
  Endpoint client;        ///< of the origin
  sockaddr_storage peer;  ///< of the socket
  Origin origin;          ///< the peer's, unless a balancer names another
  std::string via;        ///< that balancer
  Instant accepted_at;
  Instant deadline;
  std::unique_ptr<TlsStream> tls;                            ///< null: in clear
  std::shared_ptr<const ListenerTlsContext> listener_tls{};  ///< null: none is to be had here
  bool silent = true;  ///< no whole startup packet yet, or refused already: makes room for others
  std::optional<AcceptResult> gave_up;
  Entry place;
};

}  // namespace pgleash::proxy
