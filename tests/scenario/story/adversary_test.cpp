#include "tests/scenario/story/fickle_client.hpp"
#include "tests/scenario/story/server_log.hpp"
#include "tests/scenario/story/story.hpp"

#include <boost/json/serialize.hpp>

#include <atomic>
#include <cstdlib>
#include <ctime>
#include <thread>

/// All rules at once against clients that change their minds within milliseconds of every limit.
/// What was hit is told by the server's own log, by statements that carry numbers: nothing but what
/// a verdict names, and in a backend that was ended nothing began behind it.
namespace pgleash::test {
namespace {

using WallTime = std::chrono::system_clock::time_point;

/// "2026-01-31T12:00:00.000000Z"
WallTime wall_time(const std::string& text) {
  std::tm fields{};
  const char* rest = ::strptime(text.c_str(), "%Y-%m-%dT%H:%M:%S", &fields);
  if (rest == nullptr) throw std::runtime_error{"not a time: " + text};
  return std::chrono::system_clock::from_time_t(::timegm(&fields)) +
         std::chrono::microseconds{static_cast<long>(std::atof(rest) * 1e6 + 0.5)};
}

long wanted_kills() {
  const char* text = std::getenv("PGLEASH_STORY_KILLS");
  return text != nullptr ? std::atol(text) : 400;
}

/// What the audit log says of one verdict.
struct Account {
  boost::json::object intent;
  std::vector<boost::json::object> outcomes;
  int intents = 0;

  [[nodiscard]] long number() const { return ServerLog::number_in(text(intent, "statement_text")); }
  [[nodiscard]] std::string outcome() const {
    return outcomes.empty() ? "" : text(outcomes.front(), "outcome");
  }
  [[nodiscard]] std::string step() const {
    return outcomes.empty() ? "" : text(outcomes.front(), "step");
  }
  [[nodiscard]] bool of_a_statement() const { return text(intent, "kind") == "statement"; }
  [[nodiscard]] std::string told() const {
    return boost::json::serialize(intent) +
           (outcomes.empty() ? "" : "\n" + boost::json::serialize(outcomes.front()));
  }
};

class Adversary : public testing::Test {
 protected:
  static constexpr auto longest_pause = 60ms;
  static constexpr unsigned clients = 8;

  void SetUp() override {
    if (!Postgres::available()) GTEST_SKIP() << "NO POSTGRESQL HERE: set PGLEASH_TEST_PG_BIN";
    server_ = std::make_unique<MonitoredServer>(
        PostgresOptions{.max_connections = 100, .settings = {ServerLog::prefix}});
    postgres().create_role("fickle", "fickle");
    postgres().sql("ALTER ROLE fickle SET log_statement = 'all'");
    postgres().sql("CREATE TABLE deeds (id bigint PRIMARY KEY); GRANT ALL ON deeds TO fickle",
                   "orders");
    std::string rules;
    for (const auto* kind : {"idle", "idle_in_transaction", "aborted", "held"})
      rules += rule(kind, kind, "30ms", "terminate");
    rules += rule("cancels", "statement", "30ms", "cancel", for_application("cancelled"));
    rules += rule("ends", "statement", "30ms", "terminate", for_application("ended"));
    pgleash_ = std::make_unique<PgleashProcess>(
        PGLEASH_BINARY, *server_, postgres(),
        PgleashOptions{.rules = rules,
                       .poll_interval = "25ms",
                       .audit = "fsync = \"off\"\nstatement_text = \"full\""});
    ASSERT_TRUE(wait_until([this] { return pgleash().metric("pgleash_monitor_up") == 1; }, 10s));
  }
  void TearDown() override {
    if (pgleash_ && HasFailure()) {
      const auto log = pgleash_->process().err();
      std::fputs(log.substr(log.size() - std::min<std::size_t>(log.size(), 20'000)).c_str(),
                 stderr);
    }
  }
  Postgres& postgres() { return **server_; }
  PgleashProcess& pgleash() { return *pgleash_; }

  void let_them_race() {
    const auto begun = std::chrono::steady_clock::now();
    std::atomic<bool> enough{false};
    std::vector<std::unique_ptr<FickleClient>> all;
    std::vector<std::thread> threads;
    for (unsigned i = 1; i <= clients; ++i) {
      all.push_back(std::make_unique<FickleClient>(
          pgleash().words({{"user", "fickle"},
                           {"password", "fickle"},
                           {"application_name", i % 2 == 0 ? "cancelled" : "ended"}}),
          i, longest_pause));
      threads.emplace_back([&, client = all.back().get()] {
        try {
          client->run(enough);
        } catch (const std::exception& failure) {
          ADD_FAILURE() << failure.what();
        }
      });
    }
    const auto attempts = [&] {
      return pgleash().metric("pgleash_actions_total") -
             pgleash().metric("pgleash_actions_total", {{"outcome", "exempted"}});
    };
    EXPECT_TRUE(wait_until([&] { return attempts() >= static_cast<double>(wanted_kills()); },
                           std::chrono::seconds{30 + wanted_kills() / 5}))
        << attempts();
    enough = true;
    for (auto& thread : threads) thread.join();
    for (const auto& client : all) history_.add(client->history());
    took_ = std::chrono::steady_clock::now() - begun;
  }

  void read_the_books() {
    const auto settled = [&] {
      accounts_.clear();
      for (auto& line : pgleash().audit()) {
        const auto event = text(line, "event");
        if (event != "intent" && event != "outcome") continue;
        Account& account = accounts_[text(line, "verdict")];
        if (event == "intent") {
          account.intent = std::move(line);
          ++account.intents;
        } else {
          account.outcomes.push_back(std::move(line));
        }
      }
      return std::all_of(accounts_.begin(), accounts_.end(),
                         [](const auto& one) { return !one.second.outcomes.empty(); });
    };
    EXPECT_TRUE(wait_until(settled, 30s)) << "a verdict has no outcome";
    log_ = std::make_unique<ServerLog>(postgres().log());
  }

  void report() {
    std::map<std::string, long> outcomes;
    long attempts = 0;
    for (const auto& [verdict, account] : accounts_) {
      if (account.intents == 0) continue;
      ++attempts;
      ++outcomes[account.outcome()];
    }
    std::string counts;
    for (const auto& [outcome, count] : outcomes) counts += fmt::format(", {} {}", count, outcome);
    fmt::print(
        "{} kill attempts{} in {:.1f} s; {} statements, {} cancelled by the server; PostgreSQL "
        "{}\n",
        attempts, counts, std::chrono::duration<double>(took_).count(), history_.statements,
        log_->cancelled.size(), postgres().value("SHOW server_version"));
    EXPECT_GE(attempts, wanted_kills());
  }

  void expect_one_intent_and_one_outcome_each() {
    for (const auto& [verdict, account] : accounts_) {
      EXPECT_THAT(account.outcomes, SizeIs(1)) << account.told();
      // A backend that takes its time to go after its session was reset is seen as an orphan.
      if (!account.outcomes.empty() && text(account.outcomes.front(), "rule") == "orphan") continue;
      if (account.intents == 0 && account.outcome() == "exempted") continue;
      EXPECT_EQ(account.intents, 1) << account.told();
      // A machine that stands still for seconds may cost an audit line, and with it the act.
      const bool not_begun = account.outcome() == "error" && account.step() == "none";
      // Of a backend that no sample has seen before it was to end, none can be asked afterwards.
      const bool nobody_to_ask =
          account.outcome() == "unverified" && text(account.intent, "mapping") == "in_band";
      EXPECT_THAT(not_begun || nobody_to_ask ? "recovered" : account.outcome(),
                  testing::AnyOf("confirmed", "recovered", "already_gone", "exempted"))
          << account.told();
    }
  }

  /// The statement that the server gave up is the one that a verdict names, each of its own.
  void expect_the_server_gave_up_nothing_else() {
    std::multimap<long, const Account*> may_cancel;
    for (const auto& [verdict, account] : accounts_) {
      const auto step = account.step();
      if (!account.of_a_statement() || (step != "cancel" && step != "reset_then_cancel")) continue;
      const long last_sent = account.number();
      const auto behind = history_.behind.find(last_sent);
      // Behind a cancel of the first of two nothing may be hit; behind a reset none is left to hit.
      if (behind != history_.behind.end()) may_cancel.emplace(behind->second, &account);
      may_cancel.emplace(last_sent, &account);
    }
    std::set<const Account*> used;
    for (const auto& [number, session] : log_->cancelled) {
      const auto [first, last] = may_cancel.equal_range(number);
      const auto mine = std::find_if(
          first, last, [&](const auto& one) { return used.insert(one.second).second; });
      EXPECT_NE(mine, last) << "statement " << number << " was cancelled, and nobody judged it";
    }
    EXPECT_GT(log_->cancelled.size(), 0U);
    EXPECT_GT(log_->copies_failed.size(), 0U);
    std::set<long> held;
    for (const auto& [verdict, account] : accounts_)
      if (account.step() == "end_copy_in") held.insert(account.number());
    for (const auto& [number, session] : log_->copies_failed)
      EXPECT_TRUE(held.contains(number))
          << "COPY " << number << " was given up by nobody's verdict";
  }

  /// And pg_terminate_backend hit only whom a verdict names.
  void expect_nothing_began_behind_what_was_judged() {
    std::set<std::string> judged;
    long ended = 0;
    for (const auto& [verdict, account] : accounts_) {
      if (account.intents == 0 || account.number() == 0) continue;
      const auto& session = log_->session_of[account.number()];
      judged.insert(session);
      if (text(account.intent, "action") != "terminate" || account.outcome() != "confirmed")
        continue;
      EXPECT_LE(log_->last_of[session], account.number()) << account.told();
      ++ended;
    }
    EXPECT_GT(ended, 0);
    for (const auto& session : log_->terminated) EXPECT_TRUE(judged.contains(session)) << session;
  }

  void expect_nothing_acknowledged_is_lost() {
    std::set<long> stored;
    for (const auto& row : postgres().sql("SELECT id FROM deeds", "orders"))
      stored.insert(std::stol(row[0]));
    for (const long id : history_.acknowledged) EXPECT_TRUE(stored.contains(id)) << id;
    EXPECT_GT(history_.acknowledged.size(), 10U);
  }

  /// Who was told something was told by the verdict on what it did then, and had not spoken before
  /// the decision.
  void expect_clients_to_be_told_of_their_own_activity() {
    long told = 0;
    for (const auto& refused : history_.refused) {
      const auto found = accounts_.find(refused.error.incident());
      if (found == accounts_.end()) {
        // libpq could not send, and does not show the server's reason then.
        EXPECT_THAT(refused.error.sqlstate, IsEmpty()) << refused.error.message;
        continue;
      }
      ++told;
      const Account& account = found->second;
      const long number = account.number();
      if (account.of_a_statement()) {
        const auto behind = history_.behind.find(number);
        EXPECT_TRUE(number == refused.number ||
                    (behind != history_.behind.end() && behind->second == refused.number))
            << refused.number << " was told of " << account.told();
      } else {
        EXPECT_TRUE(number == refused.number || number == refused.before)
            << refused.number << " was told of " << account.told();
        EXPECT_GE(refused.sent, wall_time(text(account.intent, "ts")))
            << "had spoken before the decision: " << account.told();
      }
    }
    EXPECT_GT(told, static_cast<long>(history_.refused.size()) / 2);
  }

  void expect_the_dead_are_dead() {
    std::set<std::string> living;
    for (const auto& row : postgres().sql("SELECT pid, to_char(backend_start AT TIME ZONE 'UTC', "
                                          "'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') "
                                          "FROM pg_stat_activity"))
      living.insert(row[0] + row[1]);
    for (const auto& [verdict, account] : accounts_) {
      if (text(account.intent, "action") != "terminate" || account.outcome() != "confirmed")
        continue;
      EXPECT_FALSE(living.contains(fmt::format("{}{}", number(account.intent, "pid"),
                                               text(account.intent, "backend_start"))));
    }
  }

 private:
  std::unique_ptr<MonitoredServer> server_;
  std::unique_ptr<PgleashProcess> pgleash_;
  FickleHistory history_;
  std::map<std::string, Account> accounts_;
  std::unique_ptr<ServerLog> log_;
  std::chrono::nanoseconds took_{};
};

TEST_F(Adversary, NothingIsHitButTheActivityThatAVerdictNames) {
  let_them_race();
  read_the_books();
  report();
  expect_one_intent_and_one_outcome_each();
  expect_the_server_gave_up_nothing_else();
  expect_nothing_began_behind_what_was_judged();
  expect_nothing_acknowledged_is_lost();
  expect_clients_to_be_told_of_their_own_activity();
  expect_the_dead_are_dead();
}

}  // namespace
}  // namespace pgleash::test
