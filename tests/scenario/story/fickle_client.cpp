#include "tests/scenario/story/fickle_client.hpp"

#include "tests/support/wait_until.hpp"

#include <fmt/format.h>

namespace pgleash::test {

using std::chrono::milliseconds;

void FickleHistory::add(const FickleHistory& other) {
  acknowledged.insert(acknowledged.end(), other.acknowledged.begin(), other.acknowledged.end());
  refused.insert(refused.end(), other.refused.begin(), other.refused.end());
  behind.insert(other.behind.begin(), other.behind.end());
  statements += other.statements;
}

void FickleClient::run(const std::atomic<bool>& enough) {
  while (!enough) {
    alive();
    switch (pick(0, 8)) {
      case 0:
        idle();
        break;
      case 1:
      case 2:
        transaction();
        break;
      case 3:
        aborted();
        break;
      case 4:
        open_pipeline();
        break;
      case 5:
        failed_pipeline();
        break;
      case 6:
        copy_in();
        break;
      case 7:
        pipelined_behind_work();
        break;
      default:
        work();
    }
  }
}

void FickleClient::alive() {
  if (!ended_ && application_) return;
  application_ = std::make_unique<Application>(words_);
  ended_ = false;
  attempt("SELECT 1");  // so that each session has a numbered statement
}

/// As applications do, it does not look at its socket meanwhile.
void FickleClient::rest() {
  const auto length = milliseconds{pick(0, static_cast<int>(longest_.count()))};
  (void)wait_until([] { return false; }, length);
}

std::string FickleClient::numbered(long number, const std::string& sql) {
  return fmt::format("/*{}*/{}", number, sql);
}

void FickleClient::mark_sent() {
  application_->flush();
  sent_ = std::chrono::system_clock::now();
  ++history_.statements;
}

/// True when there is none, or only the client's own.
bool FickleClient::expect(std::optional<ServerError> error, const std::string& own_error) {
  if (!error) return true;
  ended_ = PQstatus(application_->raw()) == CONNECTION_BAD || error->severity == "FATAL";
  if (!ended_ && !own_error.empty() && error->sqlstate == own_error) return true;
  history_.refused.push_back({std::move(*error), number_, before_, sent_});
  return false;
}

bool FickleClient::attempt(const std::string& sql, const std::string& own_error) {
  const bool queued = PQsendQuery(application_->raw(), numbered(number(), sql).c_str()) == 1;
  mark_sent();
  return expect(queued ? application_->finish() : lost(), own_error);
}

ServerError FickleClient::lost() const {
  return {"FATAL", "", PQerrorMessage(application_->raw()), "", ""};
}

// ---------------------------------------------------------------- what it does

void FickleClient::idle() {
  if (attempt(fmt::format("INSERT INTO deeds VALUES ({})", next_ + 1)))
    history_.acknowledged.push_back(number_);
  if (!ended_) rest();
}

void FickleClient::transaction() {
  if (!attempt("BEGIN")) return;
  std::vector<long> rows;
  bool good = true;
  for (int i = pick(1, 3); good && i > 0; --i) {
    good = attempt(fmt::format("INSERT INTO deeds VALUES ({})", next_ + 1));
    if (!good) break;
    rows.push_back(number_);
    rest();
    if (pick(0, 3) == 0) good = attempt("SELECT pg_sleep(0.03)");
  }
  if (ended_) return;
  if (attempt(good ? "COMMIT" : "ROLLBACK") && good)
    history_.acknowledged.insert(history_.acknowledged.end(), rows.begin(), rows.end());
}

void FickleClient::aborted() {
  if (!attempt("BEGIN") || !attempt("SELECT 1/0", "22012")) return;
  rest();
  attempt("ROLLBACK");
}

bool FickleClient::queue(const std::string& sql) {
  return PQsendQueryParams(application_->raw(), numbered(number(), sql).c_str(), 0, nullptr,
                           nullptr, nullptr, nullptr, 0) == 1;
}

/// The first error among the results of one statement, or of all up to the Sync.
std::optional<ServerError> FickleClient::results(bool up_to_sync) {
  PGconn* raw = application_->raw();
  std::optional<ServerError> error;
  for (int gaps = 0; gaps < 2;) {
    const Result result{PQgetResult(raw)};
    if (!result) {
      ++gaps;
      if (!up_to_sync) return error;
      continue;
    }
    gaps = 0;
    const auto status = PQresultStatus(result.get());
    if (status == PGRES_PIPELINE_SYNC) return error;
    if (status == PGRES_FATAL_ERROR && !error) error = ServerError::of(result.get());
  }
  return error ? error : lost();
}

void FickleClient::leave_pipeline() {
  PQexitPipelineMode(application_->raw());
  if (PQpipelineStatus(application_->raw()) != PQ_PIPELINE_OFF) ended_ = true;
}

void FickleClient::open_pipeline() {
  PGconn* raw = application_->raw();
  PQenterPipelineMode(raw);
  std::vector<long> rows;
  bool good = true;
  for (int i = pick(1, 3); good && i > 0; --i) {
    good = queue(fmt::format("INSERT INTO deeds VALUES ({})", next_ + 1)) &&
           PQsendFlushRequest(raw) == 1;
    mark_sent();
    rows.push_back(number_);
    if (good) good = expect(results(false), {});
    if (good) rest();
  }
  if (!ended_ && sync() && good)
    history_.acknowledged.insert(history_.acknowledged.end(), rows.begin(), rows.end());
  leave_pipeline();
}

bool FickleClient::sync() {
  PGconn* raw = application_->raw();
  const bool synced = PQpipelineSync(raw) == 1;
  mark_sent();
  return expect(synced ? results(true) : lost(), {});
}

void FickleClient::failed_pipeline() {
  PGconn* raw = application_->raw();
  PQenterPipelineMode(raw);
  bool good = queue("SELECT 1/0") && PQsendFlushRequest(raw) == 1;
  mark_sent();
  if (good) good = expect(results(false), "22012");
  if (good) {
    rest();
  }
  if (!ended_) sync();
  leave_pipeline();
}

/// A statement of about its limit, and a row that is on its way behind it, each with its own Sync.
void FickleClient::pipelined_behind_work() {
  PGconn* raw = application_->raw();
  PQenterPipelineMode(raw);
  const long earlier = number_;
  bool good = queue(fmt::format("SELECT pg_sleep({})",
                                pick(0, static_cast<int>(longest_.count())) / 1000.0)) &&
              PQpipelineSync(raw) == 1;
  const long work = number_;
  good = good && queue(fmt::format("INSERT INTO deeds VALUES ({})", next_ + 1)) &&
         PQpipelineSync(raw) == 1;
  const long row = number_;
  mark_sent();
  history_.behind[row] = work;
  number_ = work, before_ = earlier;
  good = expect(good ? results(true) : lost(), {});
  number_ = row, before_ = work;
  if (!ended_ && expect(results(true), {})) history_.acknowledged.push_back(row);
  leave_pipeline();
}

void FickleClient::copy_in() {
  PGconn* raw = application_->raw();
  {
    const bool queued = PQsendQuery(raw, numbered(number(), "COPY deeds FROM STDIN").c_str()) == 1;
    mark_sent();
    const Result begun{queued ? PQgetResult(raw) : nullptr};
    if (!begun || PQresultStatus(begun.get()) != PGRES_COPY_IN) {
      expect(begun ? ServerError::of(begun.get()) : lost(), {});
      if (!ended_) expect(application_->finish(), {});
      return;
    }
  }
  std::vector<long> rows;
  for (int i = pick(1, 3); i > 0; --i) {
    rest();
    rows.push_back(++next_);
    const auto line = fmt::format("{}\n", rows.back());
    if (PQputCopyData(raw, line.data(), static_cast<int>(line.size())) != 1) break;
    mark_sent();
  }
  rest();
  (void)PQputCopyEnd(raw, nullptr);
  mark_sent();
  if (expect(application_->finish(), {}))
    history_.acknowledged.insert(history_.acknowledged.end(), rows.begin(), rows.end());
}

/// Sleeps or computes for about its limit; the next statement comes right behind the answer.
void FickleClient::work() {
  const int length = pick(0, static_cast<int>(longest_.count()));
  attempt(pick(0, 3) == 0
              ? fmt::format("SELECT sum(g) FROM generate_series(1, {}) g", length * 10'000)
              : fmt::format("SELECT pg_sleep({})", length / 1000.0));
  if (ended_) return;
  if (attempt(fmt::format("INSERT INTO deeds VALUES ({})", next_ + 1)))
    history_.acknowledged.push_back(number_);
}

}  // namespace pgleash::test
