#pragma once

#include "tests/support/monitored_server.hpp"
#include "tests/support/process.hpp"
#include "tests/support/temp_dir.hpp"

#include <boost/json/object.hpp>

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace pgleash::test {

/// Brakes that never brake: for stories about something else, in which many die.
inline constexpr const char* no_brakes = R"([enforcement.pace]
kills_per_minute = 100000
kills_per_minute_per_application = 100000
kills_per_minute_per_rule = 100000
[enforcement.fuse]
at_least = 100000
survived = 100000
)";

/// What an operator writes into pgleash.toml. (`= {}`, so that designated initializers may leave
/// them out.)
struct PgleashOptions {
  std::string rules = {};  ///< [[rule]] sections; empty: the default rules
  std::string mode = "enforce";
  std::string listener = {};  ///< further keys of [[listener]]
  std::string server = {};    ///< further keys of [[server]]
  bool monitor = true;
  std::string monitor_user = "pgleash_monitor";
  std::string password_file = {};  ///< empty: that of pgleash_monitor
  std::string poll_interval = "50ms";
  std::string monitor_keys = {};  ///< further keys of [server.monitor]
  std::string hold_after_start = "off";
  std::string hold_after_reload = "off";
  std::string hold_after_failover = "off";
  std::string brakes = no_brakes;  ///< [enforcement.pace] and [enforcement.fuse]
  std::string process = {};        ///< further keys of [process]
  std::string journal = "sessions.journal";
  std::string console = {};  ///< keys of [console]
  std::string http_host = "127.0.0.1";
  std::string http = {};  ///< further keys of [http]
  std::string audit = "statement_text = \"fingerprint\"";
  std::vector<std::string> environment = {};  ///< "NAME=value"
  std::uint16_t server_port = 0;              ///< 0: that of the server
  std::string server_host = "127.0.0.1";
  std::string more = {};  ///< further sections
};

using Labels = std::map<std::string, std::string>;

/// The real program, started with a configuration file of its own before a PostgreSQL. Ready when
/// constructed.
class PgleashProcess {
 public:
  /// `binary` is the path of pgleash. Throws when it does not become ready, with what it said.
  PgleashProcess(std::string binary, const MonitoredServer& server, const Postgres& postgres,
                 PgleashOptions options = {});

  [[nodiscard]] std::uint16_t port() const noexcept { return port_; }
  [[nodiscard]] std::uint16_t pages_port() const noexcept { return pages_port_; }
  [[nodiscard]] std::uint16_t status_port() const noexcept { return status_port_; }
  [[nodiscard]] pid_t pid() const noexcept { return process_->pid(); }
  [[nodiscard]] Process& process() noexcept { return *process_; }
  [[nodiscard]] std::string config_file() const { return directory_ / "pgleash.toml"; }
  [[nodiscard]] std::string journal_file() const { return directory_ / "sessions.journal"; }
  [[nodiscard]] std::string audit_file() const { return directory_ / "audit.jsonl"; }

  /// libpq's words for a session of the role app through it; `more` wins.
  [[nodiscard]] std::map<std::string, std::string> words(
      std::map<std::string, std::string> more = {}) const;
  [[nodiscard]] LibpqClient login(std::map<std::string, std::string> more = {}) const {
    return LibpqClient{words(std::move(more))};
  }

  /// Body of a page, of /metrics and its like or of the status page; empty when it cannot be had,
  /// or its status is not 200.
  [[nodiscard]] std::string page(const std::string& path) const;
  /// Sum of all series of that name which have these labels; 0 when there is none.
  [[nodiscard]] double metric(const std::string& name, const Labels& labels = {}) const;
  /// Lines of the log, oldest first; of one event when it is named.
  [[nodiscard]] std::vector<boost::json::object> log(const std::string& event = {}) const;
  [[nodiscard]] std::vector<boost::json::object> audit(const std::string& event = {}) const;
  /// Lines of the audit log with this outcome.
  [[nodiscard]] std::vector<boost::json::object> outcomes(const std::string& outcome) const;

  void start();
  /// Writes the file anew, for the same ports and server. Nobody is told.
  void configure(const PgleashOptions& options) const;
  /// SIGKILL, as the kernel's out-of-memory killer does it.
  void kill();
  /// Exit status after SIGTERM.
  int terminate();

 private:
  std::string binary_;
  TempDir directory_;
  std::uint16_t port_;
  std::uint16_t pages_port_;
  std::uint16_t status_port_;
  std::vector<std::string> environment_;
  std::string earlier_log_;
  std::function<std::string(const PgleashOptions&)> toml_;
  std::unique_ptr<Process> process_;
};

/// A text field of a log or audit line; empty when the line lacks it.
[[nodiscard]] std::string text(const boost::json::object& line, const std::string& key);
/// A number of a log or audit line; -1 when the line lacks it.
[[nodiscard]] double number(const boost::json::object& line, const std::string& key);

}  // namespace pgleash::test
