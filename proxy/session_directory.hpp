#pragma once

#include "config/config.hpp"
#include "proxy/kill_order.hpp"
#include "proxy/leg_journal.hpp"
#include "proxy/session_view.hpp"

#include <boost/asio/awaitable.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace pgleash::proxy {

template <class T>
using Task = boost::asio::awaitable<T>;

/// The watchdog's way to the sessions of one server: asks their threads, awaits values. Implemented
/// by the proxy; call from the control thread.
class SessionDirectory {
 public:
  virtual ~SessionDirectory() = default;
  /// All sessions of `server`, as each worker saw them when asked.
  virtual Task<std::vector<SessionView>> views(std::string server) = 0;
  /// The same at the cost of those that changed since the last call for this server, or all of them
  /// when asked so, as at first and after a failure: what was told then may be lost. One caller a
  /// server.
  virtual Task<ViewChanges> changes(std::string server, bool all) = 0;
  /// Empty when the session is gone.
  virtual Task<std::optional<StatementEvidence>> evidence(SessionId session) = 0;
  /// Carries the order out on the session's thread. Ends within the order's deadline.
  virtual Task<KillReport> carry_out(KillOrder order) = 0;
  /// What rules and metrics call a session of which no more was known than its address when it
  /// came: see [identity]. Any thread.
  [[nodiscard]] virtual std::string application_of(const SessionIdentity& who) const {
    return who.application_name;
  }
  /// Sessions of all servers that count for one key of [[quota]]; empty: none is configured, and
  /// nobody counts. Any thread.
  [[nodiscard]] virtual std::optional<std::uint32_t> quota_sessions(
      config::QuotaKey /*key*/, const std::string& /*holder*/) const {
    return std::nullopt;
  }
  /// Null: there is none.
  [[nodiscard]] virtual LegJournal* journal() noexcept { return nullptr; }
};

}  // namespace pgleash::proxy
