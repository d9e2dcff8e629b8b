#include "tests/scenario/monitoring/leaker.hpp"
#include "tests/support/prometheus_server.hpp"

#include <boost/json/parse.hpp>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <thread>
#include <utility>

/// Every query of every panel, put to a real Prometheus while everything that panels tell of goes
/// on.
namespace pgleash::test {
namespace {

struct Query {
  std::string panel;       ///< "leaks.json: Growth of the floor"
  std::string expression;  ///< as Prometheus gets it
};

std::string replaced(std::string text, const std::string& what, const std::string& by) {
  for (std::size_t at = 0; (at = text.find(what, at)) != std::string::npos; at += by.size())
    text.replace(at, what.size(), by);
  return text;
}

std::vector<Query> queries_of_all_panels() {
  std::vector<Query> all;
  const std::filesystem::path folder{PGLEASH_SOURCE_DIR "/deploy/grafana/dashboards"};
  for (const auto& file : std::filesystem::directory_iterator{folder}) {
    std::ifstream in{file.path(), std::ios::binary};
    const std::string text{std::istreambuf_iterator<char>{in}, {}};
    const auto dashboard = boost::json::parse(text).as_object();
    for (const auto& each : dashboard.at("panels").as_array()) {
      const auto& panel = each.as_object();
      for (const auto& target : panel.at("targets").as_array()) {
        std::string expression{target.at("expr").as_string()};
        // What Grafana puts in for its variables.
        for (const auto& [name, value] :
             {std::pair{"$instance", ".*"}, std::pair{"$server", ".*"},
              std::pair{"$__rate_interval", "10s"}, std::pair{"$__range", "60s"}})
          expression = replaced(std::move(expression), name, value);
        all.push_back(
            {file.path().filename().string() + ": " + std::string{panel.at("title").as_string()},
             std::move(expression)});
      }
    }
  }
  return all;
}

/// A number, and not the quotient of two zeros: a line that a person sees.
bool has_data(const boost::json::array& result) {
  return std::any_of(result.begin(), result.end(), [](const auto& series) {
    return series.at("value").as_array().at(1).as_string() != "NaN";
  });
}

/// Rules of seconds, each for an application of its own that goes on breaking it.
std::string rules() {
  return rule("forgotten", "idle_in_transaction", "300ms", "terminate",
              for_application("forgetful")) +
         rule("runaway", "statement", "300ms", "cancel", for_application("reporting")) +
         rule("listening", "idle", "1s", "terminate", for_application("listener")) +
         rule("pausing", "idle_in_transaction", "10s", "observe",
              "warn = \"100ms\"\n" + for_application("slowpoke")) +
         "[[rule]]\nname = \"cpu\"\nkind = \"cpu_time\"\nvalue = \"10h\"\nlimit = \"1s\"\n"
         "[[rule]]\nname = \"temp\"\nkind = \"temp_bytes\"\nvalue = \"1TiB\"\nlimit = \"1s\"\n" +
         leak_section("observe");
}

/// A thread for each kind of application, until the object goes.
class Town {
 public:
  explicit Town(const PgleashProcess& pgleash) : pgleash_(pgleash) {
    live([this] { forget_a_transaction(); });
    live([this] { cancelled_report(); });
    live([this] { pause_in_a_transaction(); });
    live([this] { work(); });
    live([this] { spill(); });
    live([this] { listen(); });
    live([this] { block(); });
  }
  ~Town() {
    over_ = true;
    threads_.clear();
  }
  Town(const Town&) = delete;
  Town& operator=(const Town&) = delete;

 private:
  template <class Life>
  void live(Life life) {
    threads_.emplace_back([this, life] {
      while (!over_) {
        try {
          life();
        } catch (const std::exception&) {
          // Its session was ended: that is what some of them live for.
        }
      }
    });
  }
  [[nodiscard]] Application login(const std::string& application) const {
    return Application{pgleash_.words({{"application_name", application}})};
  }
  void wait(std::chrono::nanoseconds length) {
    (void)wait_until([this] { return over_.load(); }, length);
  }

  void forget_a_transaction() {
    auto session = login("forgetful");
    session.exec("BEGIN");
    (void)session.ended(5s);
  }
  void cancelled_report() { (void)login("reporting").error_of("SELECT pg_sleep(5)"); }
  void pause_in_a_transaction() {
    auto session = login("slowpoke");
    session.exec("BEGIN");
    wait(250ms);
    session.exec("COMMIT");
  }
  void work() {
    auto session = login("worker");
    for (int i = 0; i < 20 && !over_; ++i) {
      session.exec("BEGIN");
      session.exec("SELECT count(*) FROM generate_series(1, 20000)");
      session.exec("COMMIT");
    }
    (void)session.error_of("SELECT 1 / 0");
  }
  /// Sorts, and waits with its files open.
  void spill() {
    (void)login("sorter").error_of(
        "SET work_mem = '1MB'; SELECT pg_sleep(2) FROM (SELECT g FROM generate_series(1, 50000) g "
        "ORDER BY repeat(md5(g::text), 4), g OFFSET 49999) sorted");
  }
  void listen() {
    auto session = login("listener");
    session.exec("LISTEN news");
    while (!over_) wait(1h);
  }
  void block() {
    auto root = login("migration");
    root.exec("BEGIN");
    root.exec("SELECT pg_advisory_xact_lock(4711)");
    auto blocked = login("waiting");
    blocked.send("SELECT pg_advisory_xact_lock(4711)");
    while (!over_) wait(1h);
    root.exec("COMMIT");
    (void)blocked.finish();
  }

  const PgleashProcess& pgleash_;
  std::atomic<bool> over_ = false;
  std::vector<std::jthread> threads_;
};

TEST(Dashboards, EveryPanelHasDataWhileThereIsSomethingToTell) {
  if (!Postgres::available()) GTEST_SKIP() << "NO POSTGRESQL HERE: set PGLEASH_TEST_PG_BIN";
  if (!PrometheusServer::available())
    GTEST_SKIP() << "NO PROMETHEUS HERE: scripts/install-deps test";
  MonitoredServer server{{.max_connections = 150}};
  const PgleashProcess pgleash{PGLEASH_BINARY, server, *server, {.rules = rules()}};
  const PrometheusServer prometheus{PGLEASH_SOURCE_DIR, pgleash.pages_port()};
  std::vector<Query> waiting = queries_of_all_panels();
  ASSERT_GT(waiting.size(), 60U);

  Leaker leaker{"checkout"};
  const Town town{pgleash};
  (void)wait_until(
      [&] {
        // A session each time: what asks takes a while.
        leaker.live(pgleash, 60);
        std::erase_if(waiting, [&](const Query& query) {
          leaker.live(pgleash, 60);
          return has_data(prometheus.query(query.expression));
        });
        return waiting.empty();
      },
      120s);
  for (const Query& query : waiting)
    ADD_FAILURE() << query.panel << " has no data: " << query.expression;
  if (!waiting.empty()) std::fputs(pgleash.page("/metrics").c_str(), stderr);
}

}  // namespace
}  // namespace pgleash::test
