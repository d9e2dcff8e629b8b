#include "tests/support/prometheus_server.hpp"

#include "tests/support/free_port.hpp"
#include "tests/support/wait_until.hpp"

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <fmt/format.h>

#include <fstream>
#include <iterator>
#include <regex>
#include <stdexcept>
#include <string_view>

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

}  // namespace

bool PrometheusServer::available() {
  return run({.argv = {"sh", "-c",
                       "command -v prometheus && command -v promtool && command -v curl"},
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
  std::vector<std::string> argv{"curl",
                                "--silent",
                                "--show-error",
                                "--max-time",
                                "10",
                                "--get",
                                fmt::format("http://127.0.0.1:{}{}", port_, path)};
  if (!query.empty()) argv.insert(argv.end(), {"--data-urlencode", "query=" + query});
  const Finished done = run({.argv = std::move(argv), .environment = {}, .user = {}});
  if (done.status != 0) throw std::runtime_error{done.err};
  auto answer = boost::json::parse(done.out).as_object();
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
