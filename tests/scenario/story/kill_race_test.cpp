
#include "tests/scenario/story/story.hpp"

#include <boost/json/serialize.hpp>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <ctime>
#include <random>
#include <set>
#include <sstream>
#include <thread>

/// Kills race against clients that wake up within milliseconds of their limit. What can be said
/// exactly:
/// - what was acknowledged to a client is in the table, once;
/// - a client is ended only in the state, or by the statement, that the verdict names, and only for
/// as long as it
///   says: what it had sent before the intent was written counts as life;
/// - in a backend that was ended nothing began after the activity that was judged;
/// - each verdict has one intent and one outcome, and who was confirmed dead is.
namespace pgleash::test {
namespace {

using WallTime = std::chrono::system_clock::time_point;
using std::chrono::duration_cast, std::chrono::microseconds, std::chrono::milliseconds;

/// "2026-01-31T12:00:00.000000Z", or PostgreSQL's "2026-01-31 12:00:00.000 UTC".
WallTime wall_time(const std::string& text) {
  std::tm fields{};
  const char* rest = ::strptime(text.substr(0, 10).c_str(), "%Y-%m-%d", &fields);
  if (rest == nullptr || ::strptime(text.substr(11, 8).c_str(), "%H:%M:%S", &fields) == nullptr)
    throw std::runtime_error{"not a time: " + text};
  const double fraction = std::stod("0" + text.substr(19, text.find_first_of(" Z", 19) - 19));
  return std::chrono::system_clock::from_time_t(::timegm(&fields)) +
         microseconds{static_cast<long>(fraction * 1e6 + 0.5)};
}

/// The number of kills to reach, as a share of $PGLEASH_STORY_KILLS.
double wanted_kills(double share) {
  const char* text = std::getenv("PGLEASH_STORY_KILLS");
  return (text != nullptr ? std::atof(text) : 1000.0) * share;
}

/// What one client went through; merged when its thread has ended.
struct Experience {
  struct Refused {
    ServerError error;
    WallTime sent;        ///< when the statement that got it had left the client
    milliseconds took;    ///< from before it was sent until the error came
    bool in_transaction;  ///< idle in transaction when it was sent
  };
  std::vector<long> acknowledged;
  std::vector<long> behind;  ///< sent behind a statement that was ended
  std::vector<Refused> refused;

  void add(const Experience& other) {
    acknowledged.insert(acknowledged.end(), other.acknowledged.begin(), other.acknowledged.end());
    behind.insert(behind.end(), other.behind.begin(), other.behind.end());
    refused.insert(refused.end(), other.refused.begin(), other.refused.end());
  }
};

/// A client that does something else every few milliseconds, and comes back when it is ended.
class Hopper {
 public:
  Hopper(const PgleashProcess& pgleash, unsigned seed, const std::atomic<bool>& enough)
      : words_(pgleash.words(
            {{"user", "racer"}, {"password", "racer"}, {"application_name", "racer"}})),
        random_(seed),
        next_id_(static_cast<long>(seed) * 10'000'000),
        enough_(enough) {}

  /// Hops between idle, idle in transaction and pipelined statements.
  void hop_between_states() {
    while (!enough_) {
      alive();
      switch (pick(0, 3)) {
        case 0:
          insert();
          rest(0, 40);
          break;
        case 1:
          pipeline();
          break;
        default:
          transaction();
      }
    }
  }
  /// Runs statements for about as long as they may, each with another one right behind it.
  void run_statements(bool pipelines) {
    while (!enough_) {
      alive();
      const bool slept = attempt(fmt::format("SELECT pg_sleep({})", pick(20, 90) / 1000.0), false);
      if (slept || !ended_) insert();  // as soon as the answer is there
      if (pipelines && !ended_ && pick(0, 3) == 0) pipeline_behind_a_long_statement();
    }
  }
  const Experience& experience() const { return experience_; }

 private:
  int pick(int from, int to) { return std::uniform_int_distribution<int>{from, to}(random_); }
  void alive() {
    if (!ended_ && application_) return;
    application_ = std::make_unique<Application>(words_);
    ended_ = false;
  }
  /// Does something else for some milliseconds. As applications do, it does not look at its socket.
  void rest(int from, int to) {
    const auto length = milliseconds{pick(from, to)};
    (void)wait_until([] { return false; }, length);
  }
  bool attempt(const std::string& sql, bool in_transaction) {
    const auto begun = std::chrono::steady_clock::now();
    PGconn* raw = application_->raw();
    const bool queued = PQsendQuery(raw, sql.c_str()) == 1;
    application_->flush();
    const auto sent = std::chrono::system_clock::now();
    std::optional<ServerError> error;
    if (queued)
      error = application_->finish();
    else
      error = ServerError{"FATAL", "", PQerrorMessage(raw), "", ""};
    return !error || refused(*error, sent, begun, in_transaction);
  }
  bool refused(const ServerError& error, WallTime sent, std::chrono::steady_clock::time_point begun,
               bool in_transaction) {
    const auto took = std::chrono::ceil<milliseconds>(std::chrono::steady_clock::now() - begun);
    experience_.refused.push_back({error, sent, took, in_transaction});
    ended_ = PQstatus(application_->raw()) == CONNECTION_BAD || error.severity == "FATAL";
    return false;
  }
  std::string insertion(long id) { return fmt::format("INSERT INTO acknowledged VALUES ({})", id); }
  void insert() {
    const long id = ++next_id_;
    if (attempt(insertion(id), false)) experience_.acknowledged.push_back(id);
  }
  void transaction() {
    const long id = ++next_id_;
    if (!attempt("BEGIN", false) || !attempt(insertion(id), true)) return;
    rest(10, 90);
    if (pick(0, 1) == 0 && !attempt("SELECT pg_sleep(0.01)", true)) return;
    rest(0, 70);
    if (attempt("COMMIT", true)) experience_.acknowledged.push_back(id);
  }
  bool queue(const std::string& sql) {
    return PQsendQueryParams(application_->raw(), sql.c_str(), 0, nullptr, nullptr, nullptr,
                             nullptr, 0) == 1;
  }
  /// All results up to the Sync; the first error among them.
  std::optional<ServerError> synced() {
    std::optional<ServerError> error;
    for (int gaps = 0; gaps < 2;) {
      const Result result{PQgetResult(application_->raw())};
      gaps = result ? 0 : gaps + 1;
      if (!result) continue;
      const auto status = PQresultStatus(result.get());
      if (status == PGRES_PIPELINE_SYNC) return error;
      if (status == PGRES_FATAL_ERROR && !error) error = ServerError::of(result.get());
    }
    return error ? error : ServerError{"FATAL", "", PQerrorMessage(application_->raw()), "", ""};
  }
  void pipeline() {
    PGconn* raw = application_->raw();
    const auto begun = std::chrono::steady_clock::now();
    const long first = ++next_id_;
    const long second = ++next_id_;
    PQenterPipelineMode(raw);
    const bool queued =
        queue(insertion(first)) && queue(insertion(second)) && PQpipelineSync(raw) == 1;
    const auto sent = std::chrono::system_clock::now();
    const auto error = queued ? synced() : ServerError{"FATAL", "", PQerrorMessage(raw), "", ""};
    if (error) {
      refused(*error, sent, begun, false);
    } else {
      experience_.acknowledged.insert(experience_.acknowledged.end(), {first, second});
    }
    PQexitPipelineMode(raw);
    if (PQpipelineStatus(raw) != PQ_PIPELINE_OFF) ended_ = true;
  }
  /// A statement far above its limit, and two that are already on their way behind it.
  void pipeline_behind_a_long_statement() {
    PGconn* raw = application_->raw();
    const auto begun = std::chrono::steady_clock::now();
    PQenterPipelineMode(raw);
    bool queued = queue("SELECT pg_sleep(5)") && PQpipelineSync(raw) == 1;
    std::vector<long> ids;
    for (int i = 0; i < 2; ++i) {
      ids.push_back(++next_id_);
      queued = queued && queue(insertion(ids.back())) && PQpipelineSync(raw) == 1;
    }
    const auto sent = std::chrono::system_clock::now();
    ASSERT_TRUE(queued);
    if (const auto error = synced()) refused(*error, sent, begun, false);
    for (const long id : ids) {
      if (ended_)
        experience_.behind.push_back(id);
      else if (const auto error = synced())
        refused(*error, std::chrono::system_clock::now(), std::chrono::steady_clock::now(), false);
      else
        experience_.acknowledged.push_back(id);
    }
    PQexitPipelineMode(raw);
    if (PQpipelineStatus(raw) != PQ_PIPELINE_OFF) ended_ = true;
  }

  std::map<std::string, std::string> words_;
  std::minstd_rand random_;
  long next_id_;
  const std::atomic<bool>& enough_;
  std::unique_ptr<Application> application_;
  bool ended_ = false;
  Experience experience_;
};

class KillRace : public Story {
 protected:
  void SetUp() override {
    Story::SetUp();
    if (IsSkipped()) return;
    if (postgres().value("SELECT 1 FROM pg_roles WHERE rolname = 'racer'").empty())
      postgres().create_role("racer", "racer");
    postgres().sql("ALTER ROLE racer SET log_statement = 'all'");
    postgres().sql(
        "DROP TABLE IF EXISTS acknowledged; CREATE TABLE acknowledged (id bigint PRIMARY KEY); "
        "GRANT ALL ON acknowledged TO racer",
        "orders");
    log_before_ = postgres().log().size();
  }

  /// Lets four of them hop until `wanted` verdicts were carried out.
  template <class Hops>
  Experience race(double wanted, Hops hops) {
    std::atomic<bool> enough{false};
    std::vector<std::unique_ptr<Hopper>> hoppers;
    std::vector<std::thread> threads;
    for (unsigned i = 1; i <= 4; ++i) {
      hoppers.push_back(std::make_unique<Hopper>(pgleash(), i, enough));
      threads.emplace_back([&, hopper = hoppers.back().get()] { hops(*hopper); });
    }
    const auto confirmed = [&] {
      return pgleash().metric("pgleash_actions_total", {{"outcome", "confirmed"}});
    };
    EXPECT_TRUE(wait_until([&] { return confirmed() >= wanted; }, 120s))
        << confirmed() << " of " << wanted;
    enough = true;
    for (auto& thread : threads) thread.join();
    Experience all;
    for (const auto& hopper : hoppers) all.add(hopper->experience());
    return all;
  }

  void expect_nothing_acknowledged_is_lost(const Experience& experience) {
    std::set<long> stored;
    for (const auto& row : postgres().sql("SELECT id FROM acknowledged", "orders"))
      stored.insert(std::stol(row[0]));
    long lost = 0;
    for (const long id : experience.acknowledged) lost += stored.contains(id) ? 0 : 1;
    EXPECT_EQ(lost, 0) << "of " << experience.acknowledged.size();
    EXPECT_GT(experience.acknowledged.size(), 10U);
    for (const long id : experience.behind)
      EXPECT_FALSE(stored.contains(id)) << "ran behind a statement that was ended";
  }

  /// Each verdict has one outcome, and one intent before it unless it was exempt from the start.
  void expect_one_outcome_each() {
    static const std::set<std::string> allowed{"confirmed", "recovered", "already_gone",
                                               "exempted"};
    std::map<std::string, int> intents;
    std::map<std::string, int> outcomes;
    const auto count = [&] {
      intents.clear();
      outcomes.clear();
      for (const auto& line : pgleash().audit("intent")) ++intents[text(line, "verdict")];
      for (const auto& line : pgleash().audit("outcome")) ++outcomes[text(line, "verdict")];
      return std::all_of(intents.begin(), intents.end(),
                         [&](const auto& one) { return outcomes.contains(one.first); });
    };
    EXPECT_TRUE(wait_until(count, 20s)) << "a verdict has no outcome";
    for (const auto& [verdict, times] : intents) EXPECT_EQ(times, 1) << verdict;
    for (const auto& [verdict, times] : outcomes) EXPECT_EQ(times, 1) << verdict;
    for (const auto& line : pgleash().audit("outcome")) {
      // Of a backend that no sample has seen before it was to end, none can be asked afterwards;
      // that its end was not seen in-band either takes a machine that is busy with something else.
      const bool nobody_to_ask =
          text(line, "outcome") == "unverified" && text(line, "mapping") == "in_band";
      EXPECT_TRUE(allowed.contains(text(line, "outcome")) || nobody_to_ask)
          << boost::json::serialize(line);
      EXPECT_TRUE(intents.contains(text(line, "verdict")) || text(line, "outcome") == "exempted")
          << boost::json::serialize(line);
    }
  }

  void expect_the_dead_are_dead() {
    std::set<std::string> living;
    for (const auto& row : postgres().sql("SELECT pid, to_char(backend_start AT TIME ZONE 'UTC', "
                                          "'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') "
                                          "FROM pg_stat_activity"))
      living.insert(row[0] + row[1]);
    for (const auto& line : pgleash().outcomes("confirmed"))
      EXPECT_FALSE(
          living.contains(fmt::format("{}{}", number(line, "pid"), text(line, "backend_start"))));
  }

  std::map<std::string, boost::json::object> intents() {
    std::map<std::string, boost::json::object> all;
    for (auto& line : pgleash().audit("intent")) all[text(line, "verdict")] = std::move(line);
    return all;
  }

  /// By the server's own log: the last statement of each backend that was ended while it waited
  /// began before it waited.
  void expect_nothing_ran_behind_the_judged_activity() {
    std::map<int, WallTime> last_statement;
    std::istringstream lines{postgres().log().substr(log_before_)};
    for (std::string line; std::getline(lines, line);) {
      const auto open = line.find('[');
      if (line.find("racer@orders") == std::string::npos) continue;
      if (line.find("LOG:  statement:") == std::string::npos &&
          line.find("LOG:  execute") == std::string::npos)
        continue;
      last_statement[std::stoi(line.substr(open + 1))] = wall_time(line);
    }
    const auto verdicts = intents();
    int checked = 0;
    for (const auto& line : pgleash().outcomes("confirmed")) {
      const auto& intent = verdicts.at(text(line, "verdict"));
      const auto pid = static_cast<int>(number(intent, "pid"));
      ASSERT_TRUE(last_statement.contains(pid)) << pid;
      const auto waiting_since = wall_time(text(intent, "ts")) -
                                 milliseconds{static_cast<long>(number(intent, "measured_ms"))};
      EXPECT_LE(last_statement[pid], waiting_since) << boost::json::serialize(intent);
      ++checked;
    }
    EXPECT_GT(checked, 0);
  }

 private:
  std::size_t log_before_ = 0;
};

TEST_F(KillRace, EndsIdleTransactionsAndNeverOneThatWokeUp) {
  pgleash({.rules = rule("race", "idle_in_transaction", "25ms", "terminate"),
           .audit = "fsync = \"off\""});
  const auto experience =
      race(wanted_kills(0.6), [](Hopper& hopper) { hopper.hop_between_states(); });
  expect_nothing_acknowledged_is_lost(experience);
  expect_one_outcome_each();
  expect_the_dead_are_dead();
  expect_nothing_ran_behind_the_judged_activity();

  const auto verdicts = intents();
  int told = 0;
  for (const auto& refused : experience.refused) {
    EXPECT_TRUE(refused.in_transaction) << refused.error.message;
    EXPECT_NE(refused.error.sqlstate, "57014") << refused.error.message;
    const auto intent = verdicts.find(refused.error.incident());
    if (intent == verdicts.end())
      continue;  // libpq could not send, and does not show the server's reason then
    ++told;
    EXPECT_EQ(refused.error.sqlstate, "25P03");
    EXPECT_GE(refused.sent, wall_time(text(intent->second, "ts")))
        << "had spoken before the decision: " << refused.error.message;
  }
  EXPECT_GT(told, static_cast<int>(experience.refused.size()) / 2);
}

TEST_F(KillRace, CancelsTheStatementThatWasJudgedAndNoLaterOne) {
  pgleash({.rules = rule("race", "statement", "50ms", "cancel"), .audit = "fsync = \"off\""});
  const auto experience =
      race(wanted_kills(0.2), [](Hopper& hopper) { hopper.run_statements(false); });
  expect_nothing_acknowledged_is_lost(experience);
  expect_one_outcome_each();
  EXPECT_GT(experience.refused.size(), 0U);
  for (const auto& refused : experience.refused) {
    EXPECT_EQ(refused.error.sqlstate, "57014") << refused.error.message;
    EXPECT_GE(refused.took, 50ms) << "a statement that had just begun was cancelled";
  }
}

TEST_F(KillRace, TerminatesTheStatementThatWasJudgedAndNothingBehindItRuns) {
  pgleash({.rules = rule("race", "statement", "50ms", "terminate"), .audit = "fsync = \"off\""});
  const auto experience =
      race(wanted_kills(0.2), [](Hopper& hopper) { hopper.run_statements(true); });
  expect_nothing_acknowledged_is_lost(experience);
  expect_one_outcome_each();
  expect_the_dead_are_dead();
  EXPECT_GT(experience.behind.size(), 0U);
  for (const auto& refused : experience.refused) {
    EXPECT_EQ(refused.error.sqlstate, "57P05") << refused.error.message;
    EXPECT_GE(refused.took, 50ms) << "a statement that had just begun was ended";
  }
}

}  // namespace
}  // namespace pgleash::test
