#include "watchdog/message.hpp"

#include "config/measure.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <string_view>

namespace pgleash::watchdog {

using config::RuleKind;
using protocol::SessionState;

namespace {

std::string_view idle_words(const Verdict& verdict) noexcept {
  switch (verdict.session.view.facts.state) {
    case SessionState::idle:
      return "idle";
    case SessionState::aborted:
      return "idle in an aborted transaction";
    case SessionState::idle_in_transaction:
      return "idle in transaction";
    default:
      return "pipeline without Sync";
  }
}

std::string sessions(std::uint32_t count) {
  return fmt::format("{} session{}", count, count == 1 ? "" : "s");
}

/// What it blocks and how: a queue head lets nobody pass who comes behind it.
std::string how_it_blocks(const Verdict& verdict) {
  if (verdict.counter == proxy::JudgedCounter::request)
    return fmt::format("waiting for a lock with {} queued behind it", sessions(verdict.others));
  const auto doing = verdict.waits_for_client ? idle_words(verdict) : "running";
  return fmt::format("{}, blocking {}", doing, sessions(verdict.others));
}

/// The words before "for 312 s".
std::string what_it_did(const Verdict& verdict) {
  switch (verdict.kind) {
    case RuleKind::idle:
      return "idle";
    case RuleKind::idle_in_transaction:
      return "idle in transaction";
    case RuleKind::aborted:
      return "idle in an aborted transaction";
    case RuleKind::held:
      switch (verdict.session.view.facts.state) {
        case SessionState::copy_in:
          return "COPY waiting for the client's data";
        case SessionState::pipeline_failed:
          return "failed pipeline without Sync";
        default:
          return "pipeline without Sync";
      }
    case RuleKind::stalled:
      return "client has not read its results";
    case RuleKind::statement:
      return "running";
    case RuleKind::transaction_age:
      return "transaction open";
    case RuleKind::session_age:
      return "connected";
    case RuleKind::leak:
      return "leaked and idle";
    case RuleKind::blocking:
      return how_it_blocks(verdict);
    case RuleKind::group:
      return fmt::format("running, one of {} alike,", verdict.others);
    default:  // of cost: see what_it_costs()
      break;
  }
  return "over its limit";
}

/// "temporary files of 61.3 MiB".
std::string what_it_costs(RuleKind kind, std::uint64_t value) {
  const std::string shown = config::show_measure(config::measure_unit(kind), value);
  switch (kind) {
    case RuleKind::sent_bytes:
      return shown + " sent";
    case RuleKind::rows:
      return shown + " rows sent";
    case RuleKind::temp_bytes:
      return "temporary files of " + shown;
    case RuleKind::xmin_age:
      return "vacuum held back by " + shown + " transactions";
    case RuleKind::locks:
      return shown + " locks held";
    case RuleKind::parallel_workers:
      return shown + " parallel workers";
    case RuleKind::cpu_time:
      return shown + " of CPU time used";
    case RuleKind::cpu_share:
      return shown + " of a CPU used";
    case RuleKind::memory:
      return shown + " of memory used";
    case RuleKind::read_rate:
      return shown + " read";
    case RuleKind::write_rate:
      return shown + " written";
    case RuleKind::wal:
      return shown + " of WAL written";
    default:
      return shown;
  }
}

std::string_view cost_hint(RuleKind kind) noexcept {
  switch (kind) {
    case RuleKind::sent_bytes:
    case RuleKind::rows:
      return "Ask for fewer rows or columns, or page through them.";
    case RuleKind::temp_bytes:
      return "Sort or join less at once: filter earlier, or index what is sorted by.";
    case RuleKind::xmin_age:
      return "Use shorter statements: vacuum cannot clean up what this one might still see.";
    case RuleKind::locks:
      return "Touch fewer tables and partitions in one statement.";
    default:
      return "Make the statement cheaper, or ask for a rule of its own if it has to cost so much.";
  }
}

std::string_view default_hint(const Verdict& verdict) noexcept {
  if (config::is_cost(verdict.kind)) return cost_hint(verdict.kind);
  switch (verdict.kind) {
    case RuleKind::blocking:
      return verdict.counter == proxy::JudgedCounter::request
                 ? "Try again when the transaction it waited for is over, with a lock_timeout that "
                   "lets others pass."
                 : "Commit or roll back before waiting for anything else than the database.";
    case RuleKind::group:
      return "Many sessions run the same at once: look for a cache that expired, a retry loop, or "
             "a missing index.";
    case RuleKind::idle:
      return "Return connections to the pool or close them, and let the pool retire idle ones "
             "earlier.";
    case RuleKind::idle_in_transaction:
      return "Commit or roll back before waiting for anything else than the database.";
    case RuleKind::aborted:
      return "Roll back as soon as a statement fails.";
    case RuleKind::held:
      return "Finish what was begun: send Sync after a pipeline, CopyDone or CopyFail after COPY "
             "data.";
    case RuleKind::stalled:
      return "Read results as they arrive, fetch them in parts through a cursor, or ask for fewer "
             "rows.";
    case RuleKind::statement:
      return "Make the statement faster, or ask for a rule of its own if it has to run so long.";
    case RuleKind::transaction_age:
      return "Do the work in shorter transactions.";
    case RuleKind::session_age:
      return "Let the pool retire connections before the limit.";
    case RuleKind::leak:
      return "The application opens connections and never uses them again: close or return each "
             "one, on every path.";
    default:
      break;
  }
  return {};
}

std::string detail_of(const Verdict& verdict) {
  std::string detail = fmt::format(
      "Incident {}: search the log and the audit log of pgleash for it.", verdict.id.text);
  const auto& who = *verdict.session.view.who;
  if (who.pid) detail += fmt::format(" Backend pid {}.", static_cast<std::int32_t>(*who.pid));
  return detail;
}

}  // namespace

std::string printable(std::string_view text) {
  std::string safe;
  safe.reserve(text.size());
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7F) {
      safe += fmt::format("\\x{:02x}", byte);
    } else {
      safe += c;
    }
  }
  return safe;
}

std::string in_seconds(Duration duration) {
  using std::chrono::milliseconds;
  const auto ms =
      std::max<std::int64_t>(std::chrono::duration_cast<milliseconds>(duration).count(), 1);
  if (ms < 100) return fmt::format("{} ms", ms);
  if (ms >= 10'000) return fmt::format("{} s", ms / 1000);
  std::string text = fmt::format("{}.{:02}", ms / 1000, ms % 1000 / 10);
  while (text.back() == '0') text.pop_back();
  if (text.back() == '.') text.pop_back();
  return text + " s";
}

proxy::ErrorNotice error_notice(const Verdict& verdict, proxy::KillAction action) {
  const bool cancel = action == proxy::KillAction::cancel;
  proxy::ErrorNotice notice;
  if (!verdict.actor.empty()) {
    notice.sqlstate = cancel ? "57014" : verdict.sqlstate;
    notice.message =
        fmt::format("{} by operator '{}' (pgleash console)",
                    cancel ? "canceling statement: canceled" : "terminating connection: ended",
                    printable(verdict.actor));
    notice.detail = detail_of(verdict);
    notice.hint = "The audit log of pgleash has this incident; the operator knows the reason.";
    return notice;
  }
  notice.sqlstate = cancel ? "57014" : verdict.sqlstate;  // a cancel is the server's own error
  std::string what{what_it_did(verdict)};
  if (verdict.cost) {
    const auto unit = config::measure_unit(verdict.kind);
    what = fmt::format("{}, above {}", what_it_costs(verdict.kind, verdict.cost->value),
                       config::show_measure(unit, verdict.cost->threshold));
  }
  notice.message =
      fmt::format("{}: {} for {} (pgleash rule '{}', limit {})",
                  cancel ? "canceling statement" : "terminating connection", what,
                  in_seconds(verdict.measured), printable(verdict.rule), in_seconds(verdict.limit));
  notice.detail = detail_of(verdict);
  notice.hint = verdict.hint.empty() ? std::string{default_hint(verdict)} : printable(verdict.hint);
  return notice;
}

}  // namespace pgleash::watchdog
