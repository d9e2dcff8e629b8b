#pragma once

#include "proxy/connection.hpp"
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
        connection(phase.set_, std::move(accepted.fd)),
        listener(accepted.listener),
        client(to_endpoint(accepted.peer)),
        peer(accepted.peer),
        origin{accepted.peer, is_local(accepted.peer)},
        accepted_at(accepted.at),
        deadline(accepted.at + phase.settings_.listeners[accepted.listener].login_timeout) {
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
    connection.cancel();
  }

  StartupPhase& owner;
  Connection connection;
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
