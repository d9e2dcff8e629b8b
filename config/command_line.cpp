#include "config/address.hpp"
#include "config/check.hpp"
#include "config/defaults.hpp"
#include "config/loader.hpp"
#include "config/monitor_words.hpp"
#include "config/server_words.hpp"

#include <charconv>
#include <utility>
#include <variant>

namespace pgleash::config {

namespace {

/// Takes the options one by one, and remembers which key each of them set.
class Options {
 public:
  Options(LoadResult& result, std::set<std::string>& unreadable)
      : result_(result), unreadable_(unreadable) {}

  void fail(const std::string& option, const std::string& path, Fault fault,
            const std::string& excerpt) {
    unreadable_.insert(path);
    result_.diagnostics.push_back(
        {Severity::error, {option}, std::move(fault.message), std::move(fault.hint), excerpt});
  }

  void came_from(const std::string& option, const std::string& path, bool readable = true) {
    result_.provenance[path] = {option};
    if (!readable) unreadable_.insert(path);
  }

  template <typename T>
  bool take(const std::string& option, const std::string& path, Parsed<T> parsed, T& target,
            const std::string& given) {
    came_from(option, path);
    if (auto* fault = std::get_if<Fault>(&parsed)) {
      // Who puts a URL here puts a password into it sooner or later: it is not repeated.
      fail(option, path, std::move(*fault), given.find('@') == std::string::npos ? given : "");
      return false;
    }
    target = std::move(std::get<T>(parsed));
    return true;
  }

 private:
  LoadResult& result_;
  std::set<std::string>& unreadable_;
};

Server read_server(const CommandLine& line, Options& options) {
  std::vector<Fault> faults;
  Server server = read_server_words(line.server, faults);
  for (const char* key : {"host", "tls", "tls_negotiation", "tls_ca_file", "tls_crl_file",
                          "tls_cert_file", "tls_key_file", "tls_min_version"})
    options.came_from("--server", std::string{"server[0]."} + key, faults.empty());
  // A text with a user or with words holds a password sooner or later: it is not repeated.
  const bool plain = line.server.find_first_of("@=") == std::string::npos;
  for (Fault& fault : std::exchange(faults, {}))
    options.fail("--server", "server[0].host", std::move(fault), plain ? line.server : "");
  server.monitor = read_monitor_words(line.monitor.value_or("none"), faults);
  for (Fault& fault : faults) options.fail("--monitor", "server[0].monitor", std::move(fault), {});
  return server;
}

Listener read_listener(const CommandLine& line, Options& options) {
  Listener listener = default_listener();
  if (!line.listen.empty()) listener.listen.clear();
  for (std::size_t i = 0; i < line.listen.size(); ++i) {
    Address address;
    const std::string path = "listener[0].listen[" + std::to_string(i) + ']';
    if (options.take("--listen", path, parse_listen_address(line.listen[i]), address,
                     line.listen[i])) {
      listener.listen.push_back(std::move(address));
    }
  }
  return listener;
}

/// "auto" is one for every two cores, which 0 stands for.
Parsed<unsigned> parse_workers(std::string_view text) {
  constexpr unsigned most = 1024;
  if (text == "auto") return 0U;
  unsigned workers = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), workers);
  if (error != std::errc{} || end != text.data() + text.size() || workers < 1 || workers > most)
    return Fault{in_quotes(text) + " is no number of workers",
                 "give a number from 1 to 1024, or auto for one for every two cores"};
  return workers;
}

}  // namespace

LoadResult from_command_line(const CommandLine& line) {
  LoadResult result;
  std::set<std::string> unreadable;
  Options options{result, unreadable};
  Config config;
  config.servers.push_back(read_server(line, options));
  config.listeners.push_back(read_listener(line, options));
  if (line.http)
    options.take("--http", "metrics.listen", parse_http_address(*line.http), config.metrics.listen,
                 *line.http);
  if (line.status)
    options.take("--status", "http.listen", parse_http_address(*line.status), config.http.listen,
                 *line.status);
  else if (line.http == "off")
    config.http.listen.reset();  // who serves nothing to machines serves nothing to people
  if (line.workers)
    options.take("--workers", "process.workers", parse_workers(*line.workers),
                 config.process.workers, *line.workers);
  config.identity.driver_defaults = default_driver_names();
  complete(config);
  check(config, result.provenance, unreadable, result.diagnostics);
  if (!has_errors(result.diagnostics)) result.config = std::move(config);
  return result;
}

}  // namespace pgleash::config
