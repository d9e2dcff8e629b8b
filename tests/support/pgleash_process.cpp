#include "tests/support/pgleash_process.hpp"

#include "tests/support/engine.hpp"
#include "tests/support/free_port.hpp"
#include "tests/support/wait_until.hpp"

#include <boost/json/parse.hpp>
#include <boost/json/value_to.hpp>
#include <fmt/format.h>

#include <arpa/inet.h>
#include <fstream>
#include <iterator>
#include <netinet/in.h>
#include <sstream>
#include <stdexcept>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>
#include <utility>

namespace pgleash::test {
namespace {

using namespace std::chrono_literals;

class Socket {
 public:
  Socket() : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {}
  ~Socket() { ::close(fd_); }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  [[nodiscard]] int get() const noexcept { return fd_; }

 private:
  int fd_;
};

/// The whole answer, head and body; empty when nobody is there.
std::string http_get(std::uint16_t port, const std::string& path) {
  const Socket socket;
  const timeval patience{5, 0};
  ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return {};
  const auto request =
      fmt::format("GET {} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nConnection: close\r\n\r\n", path, port);
  if (::send(socket.get(), request.data(), request.size(), MSG_NOSIGNAL) !=
      static_cast<ssize_t>(request.size()))
    return {};
  std::string answer;
  char part[16384];
  for (ssize_t n = 0; (n = ::recv(socket.get(), part, sizeof part, 0)) > 0;)
    answer.append(part, static_cast<std::size_t>(n));
  return answer;
}

std::vector<boost::json::object> objects(std::istream& lines, const std::string& event) {
  std::vector<boost::json::object> all;
  for (std::string line; std::getline(lines, line);) {
    if (lines.eof() || line.empty() || line.front() != '{')
      continue;  // the last one may be half written
    auto object = boost::json::parse(line).as_object();
    if (event.empty() || text(object, "event") == event) all.push_back(std::move(object));
  }
  return all;
}

/// One line of the text format: NAME{a="b",…} VALUE. Label values of ours have no quotes within.
bool series_has(std::string_view series, const Labels& labels) {
  for (const auto& [key, value] : labels) {
    const auto pair = fmt::format("{}=\"{}\"", key, value);
    const auto at = series.find(pair);
    if (at == std::string_view::npos || (series[at - 1] != '{' && series[at - 1] != ','))
      return false;
  }
  return true;
}

std::string configuration(const PgleashOptions& options, const MonitoredServer& server,
                          std::uint16_t port, std::uint16_t pages, std::uint16_t status,
                          std::uint16_t server_port) {
  auto toml = fmt::format(R"([process]
name = "story"
workers = 2
engine = "{}"
drain_delay = "off"
drain_timeout = "2s"
journal = "{}"
{}
[[listener]]
name = "main"
listen = ["127.0.0.1:{}"]
{}
[[server]]
name = "main"
host = "{}"
port = {}
{}
)",
                          engine_word(), options.journal, options.process, port, options.listener,
                          options.server_host, server_port, options.server);
  if (options.monitor) {
    toml += fmt::format(
        "[server.monitor]\nuser = \"{}\"\npassword_file = \"{}\"\npoll_interval = \"{}\"\n{}\n",
        options.monitor_user,
        options.password_file.empty() ? server.section().monitor.password_file
                                      : options.password_file,
        options.poll_interval, options.monitor_keys);
  } else {
    toml += "monitor = \"none\"\n";
  }
  toml += fmt::format(R"([enforcement]
mode = "{}"
hold_after_start = "{}"
hold_after_reload = "{}"
hold_after_failover = "{}"
{}
[audit]
file = "audit.jsonl"
{}
[console]
{}
[metrics]
listen = "127.0.0.1:{}"
[http]
listen = "{}:{}"
{}
{}
{}
)",
                      options.mode, options.hold_after_start, options.hold_after_reload,
                      options.hold_after_failover, options.brakes, options.audit, options.console,
                      pages, options.http_host, status, options.http, options.rules, options.more);
  return toml;
}

}  // namespace

std::string text(const boost::json::object& line, const std::string& key) {
  const auto* value = line.if_contains(key);
  return value != nullptr && value->is_string() ? std::string{value->as_string().c_str()}
                                                : std::string{};
}

double number(const boost::json::object& line, const std::string& key) {
  const auto* value = line.if_contains(key);
  return value != nullptr && value->is_number() ? value->to_number<double>() : -1;
}

PgleashProcess::PgleashProcess(std::string binary, const MonitoredServer& server,
                               const Postgres& postgres, PgleashOptions options)
    : binary_(std::move(binary)),
      port_(free_port()),
      pages_port_(free_port()),
      status_port_(free_port()),
      environment_(options.environment) {
  const auto server_port = options.server_port != 0 ? options.server_port : postgres.port();
  toml_ = [this, &server, server_port](const PgleashOptions& written) {
    return configuration(written, server, port_, pages_port_, status_port_, server_port);
  };
  configure(options);
  start();
}

void PgleashProcess::configure(const PgleashOptions& options) const {
  std::ofstream{config_file()} << toml_(options);
}

void PgleashProcess::start() {
  if (process_) earlier_log_ += process_->err();
  process_ = std::make_unique<Process>(Command{.argv = {binary_, "run", "--config", config_file()},
                                               .environment = environment_,
                                               .user = {}});
  const bool decided =
      wait_until([this] { return !page("/readyz").empty() || !process_->running(); }, 20s);
  if (!decided || !process_->running())
    throw std::runtime_error{"pgleash did not become ready:\n" + process_->out() + process_->err()};
}

void PgleashProcess::kill() {
  process_->signal(SIGKILL);
  if (!process_->wait(10s)) throw std::runtime_error{"pgleash survived SIGKILL"};
}

int PgleashProcess::terminate() {
  return process_->terminate(20s);
}

std::map<std::string, std::string> PgleashProcess::words(
    std::map<std::string, std::string> more) const {
  more.insert({{"host", "127.0.0.1"},
               {"port", std::to_string(port_)},
               {"user", "app"},
               {"password", "app"},
               {"dbname", "orders"},
               {"application_name", "checkout"}});
  return more;
}

std::string PgleashProcess::page(const std::string& path) const {
  const bool status = path == "/" || path.starts_with("/api/");
  const auto answer = http_get(status ? status_port_ : pages_port_, path);
  const auto body = answer.find("\r\n\r\n");
  if (!answer.starts_with("HTTP/1.1 200") || body == std::string::npos) return {};
  return answer.substr(body + 4);
}

double PgleashProcess::metric(const std::string& name, const Labels& labels) const {
  std::istringstream lines{page("/metrics")};
  double sum = 0;
  for (std::string line; std::getline(lines, line);) {
    const auto name_end = line.find_first_of("{ ");
    if (line.compare(0, name_end, name) != 0 || !series_has(line, labels)) continue;
    sum += std::stod(line.substr(line.rfind(' ') + 1));
  }
  return sum;
}

std::vector<boost::json::object> PgleashProcess::log(const std::string& event) const {
  std::istringstream lines{earlier_log_ + process_->err()};
  return objects(lines, event);
}

std::vector<boost::json::object> PgleashProcess::audit(const std::string& event) const {
  std::ifstream lines{audit_file()};
  return objects(lines, event);
}

std::vector<boost::json::object> PgleashProcess::outcomes(const std::string& outcome) const {
  auto all = audit("outcome");
  std::erase_if(all, [&](const auto& line) { return text(line, "outcome") != outcome; });
  return all;
}

}  // namespace pgleash::test
