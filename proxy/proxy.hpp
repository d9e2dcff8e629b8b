#pragma once

#include "proxy/console_door.hpp"
#include "proxy/inherited_sockets.hpp"
#include "proxy/journal.hpp"
#include "proxy/listener.hpp"
#include "proxy/session_directory.hpp"
#include "proxy/settings.hpp"
#include "proxy/worker.hpp"

#include <memory>
#include <string_view>
#include <vector>

namespace pgleash::proxy {

/// The whole data path: listeners and workers. Made and ended on the control thread; see Worker for
/// how values cross.
class Proxy final : public SessionDirectory, private ProxyLinks {
 public:
  /// Binds all listeners and reads the files of TLS: throws std::system_error, or
  /// std::runtime_error, when one cannot be. `events` outlives the proxy.
  /// `door` leads to the console, outlives the proxy, and is not used before start(); null: none.
  Proxy(const config::Config& config, ProxyEvents& events, InheritedSockets inherited = {},
        ConsoleDoor* door = nullptr);
  ~Proxy() override;
  Proxy(const Proxy&) = delete;
  Proxy& operator=(const Proxy&) = delete;

  /// Where secrets of roles are learned, for listeners that log in themselves. Before start();
  /// outlives the proxy.
  void learn_secrets_from(VerifierSource& source) { settings_.verifiers = &source; }

  void start();
  /// See ProxySettings::reload.
  void reload(const config::Config& config);
  /// By quota. Any thread.
  [[nodiscard]] std::map<std::string, QuotaUse> quotas() const { return settings_.quotas.use(); }
  /// For connections to come.
  void reload(TlsContexts tls) { settings_.reload(std::move(tls)); }
  /// Stops listening; sessions end as they become idle outside a transaction, all of them after
  /// `patience`.
  void drain(Duration patience);
  [[nodiscard]] bool drained() const noexcept;
  /// Ends the threads; call when drained, or to give up.
  void finish();

  Task<std::vector<SessionView>> views(std::string server) override;
  Task<ViewChanges> changes(std::string server, bool all) override;
  Task<std::optional<StatementEvidence>> evidence(SessionId session) override;
  [[nodiscard]] std::optional<std::uint32_t> quota_sessions(
      config::QuotaKey key, const std::string& holder) const override {
    return settings_.quotas.sessions_of(key, holder);
  }
  Task<KillReport> carry_out(KillOrder order) override;
  [[nodiscard]] std::string application_of(const SessionIdentity& who) const override;
  [[nodiscard]] LegJournal* journal() noexcept override { return journal_.get(); }

  /// How the journal fares. Any thread.
  [[nodiscard]] JournalState journal_state() const;

  [[nodiscard]] const ProxySettings& settings() const noexcept { return settings_; }
  [[nodiscard]] const std::vector<std::unique_ptr<Worker>>& workers() const noexcept {
    return workers_;
  }
  [[nodiscard]] std::uint32_t total_live() const noexcept override;
  [[nodiscard]] bool accepting() const noexcept { return accepting_; }
  /// The port of each bound address, in the order of the configuration: of interest where that says
  /// 0. Before start().
  [[nodiscard]] std::vector<std::uint16_t> ports() const;

 private:
  boost::asio::awaitable<CancelResult> forward_cancel(protocol::CancelKey key, std::size_t listener,
                                                      CancelSender& cancels,
                                                      Upstream& upstream) override;
  void place(Accepted accepted);
  [[nodiscard]] Worker* owner(SessionId session) noexcept;

  ProxySettings settings_;
  ProxyEvents& events_;
  std::unique_ptr<Journal> journal_;  ///< outlives the workers
  std::string journal_problem_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::vector<std::unique_ptr<Listener>> listeners_;  ///< on the first worker's thread
  bool accepting_ = false;
};

}  // namespace pgleash::proxy
