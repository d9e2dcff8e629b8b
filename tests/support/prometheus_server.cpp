#include "tests/support/prometheus_server.hpp"

#include "tests/support/free_port.hpp"
#include "tests/support/wait_until.hpp"

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <fmt/format.h>

#include <arpa/inet.h>
#include <cctype>
#include <fstream>
#include <iterator>
#include <memory>
#include <netinet/in.h>
#include <regex>
#include <stdexcept>
#include <string_view>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

namespace pgleash::test {
namespace {

using namespace std::chrono_literals;

std::string read(const std::string& path) {
  std::ifstream file{path, std::ios::binary};
  if (!file) throw std::runtime_error{"cannot read " + path};
  return {std::istreambuf_iterator<char>{file}, {}};
}

void write(const std::string& path, const std::string& text) {
  if (!(std::ofstream{path, std::ios::binary} << text))
    throw std::runtime_error{"cannot write " + path};
}

/// As a query of a URL wants it.
std::string encoded(std::string_view text) {
  std::string result;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    result += std::isalnum(byte) != 0 ? std::string{c} : fmt::format("%{:02X}", byte);
  }
  return result;
}

/// Body of the answer, whatever its status; throws when there is none. No process for each of them:
/// some hundred questions a test would be slow on a busy machine. HTTP/1.0, so that nothing comes
/// in chunks.
std::string http_get(std::uint16_t port, const std::string& target) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const std::unique_ptr<const int, void (*)(const int*)> closer{&fd,
                                                                [](const int* s) { ::close(*s); }};
  const timeval patience{10, 0};
  ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const auto request = fmt::format("GET {} HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n", target);
  if (::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      ::send(fd, request.data(), request.size(), MSG_NOSIGNAL) !=
          static_cast<ssize_t>(request.size()))
    throw std::runtime_error{"prometheus is not there"};
  std::string answer;
  char part[16384];
  for (ssize_t n = 0; (n = ::recv(fd, part, sizeof part, 0)) > 0;)
    answer.append(part, static_cast<std::size_t>(n));
  const auto body = answer.find("\r\n\r\n");
  if (body == std::string::npos) throw std::runtime_error{"prometheus does not answer"};
  return answer.substr(body + 4);
}

}  // namespace

bool PrometheusServer::available() {
  return run({.argv = {"sh", "-c", "command -v prometheus && command -v promtool"},
              .environment = {},
              .user = {}})
             .status == 0;
}

PrometheusServer::PrometheusServer(const std::string& source, std::uint16_t metrics_port)
    : port_(free_port()) {
  const std::regex minutes{R"(for: (\d+)m\b)"};
  write(directory_ / "pgleash.rules.yml",
        std::regex_replace(read(source + "/deploy/prometheus/pgleash.rules.yml"), minutes,
                           "for: $1s"));
  write(directory_ / "prometheus.yml",
        fmt::format("global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}\n"
                    "rule_files: [pgleash.rules.yml]\n"
                    "scrape_configs:\n"
                    "  - job_name: pgleash\n"
                    "    static_configs: [{{targets: [\"127.0.0.1:{}\"]}}]\n",
                    metrics_port));
  process_.emplace(
      Command{.argv = {"prometheus", "--config.file=" + directory_ / "prometheus.yml",
                       "--storage.tsdb.path=" + directory_ / "data",
                       fmt::format("--web.listen-address=127.0.0.1:{}", port_), "--log.level=warn"},
              .environment = {},
              .user = {}});
  const bool ready = wait_until(
      [this] {
        if (!process_->running()) return true;
        try {
          return !query("up == 1").empty();
        } catch (const std::exception&) {
          return false;  // it does not answer yet
        }
      },
      30s);
  if (!ready || !process_->running())
    throw std::runtime_error{"prometheus does not scrape\n" + process_->err()};
}

boost::json::object PrometheusServer::get(const std::string& path, const std::string& query) const {
  const std::string target = query.empty() ? path : path + "?query=" + encoded(query);
  auto answer = boost::json::parse(http_get(port_, target)).as_object();
  if (answer.at("status") != "success")
    throw std::runtime_error{query + ": " + boost::json::serialize(answer)};
  return answer.at("data").as_object();
}

boost::json::array PrometheusServer::query(const std::string& expression) const {
  return get("/api/v1/query", expression).at("result").as_array();
}

std::vector<boost::json::object> PrometheusServer::firing(const std::string& alert) const {
  std::vector<boost::json::object> found;
  const boost::json::object answer = get("/api/v1/alerts");
  for (const auto& each : answer.at("alerts").as_array()) {
    const auto& object = each.as_object();
    if (object.at("state") == "firing" &&
        object.at("labels").at("alertname").as_string() == std::string_view{alert})
      found.push_back(object);
  }
  return found;
}

}  // namespace pgleash::test
