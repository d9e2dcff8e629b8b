#include "watchdog/running_statements.hpp"

#include <algorithm>
#include <utility>

namespace pgleash::watchdog {
namespace {

using protocol::SessionState;

/// Exactly one statement is under way, so that the last one forwarded is the one that runs.
bool one_statement_runs(const protocol::SessionFacts& facts) noexcept {
  const bool busy = facts.state == SessionState::busy || facts.state == SessionState::copy_out;
  return busy && facts.outstanding == 1 && !facts.segment_open;
}

}  // namespace

std::vector<RunningStatements::Question> RunningStatements::fill(Snapshot& snapshot,
                                                                 Instant views_asked,
                                                                 Duration from) {
  ++round_;
  std::vector<std::pair<Instant, Question>> wanted;
  for (SessionEntry& entry : snapshot.sessions) {
    const auto& facts = entry.view.facts;
    if (!one_statement_runs(facts) || snapshot.now - facts.request_since <= from) continue;
    const std::uint64_t id = proxy::number(entry.view.id);
    const auto known = known_.find(id);
    if (known == known_.end() ||
        !proxy::same_activity(proxy::JudgedCounter::request, known->second.mark, facts.mark)) {
      if (known != known_.end()) known_.erase(known);
      wanted.emplace_back(facts.request_since, Question{entry.view.id, facts.mark});
      continue;
    }
    known->second.seen = round_;
    if (known->second.answered && *known->second.answered <= views_asked)
      entry.fingerprint = known->second.fingerprint;
  }
  std::erase_if(known_, [this](const auto& item) { return item.second.seen != round_; });

  std::ranges::stable_sort(wanted, {}, &std::pair<Instant, Question>::first);
  wanted.resize(std::min(wanted.size(), max_asked));
  std::vector<Question> questions;
  for (const auto& [since, question] : wanted) {
    known_[proxy::number(question.session)] = {question.mark, std::nullopt, std::nullopt, round_};
    questions.push_back(question);
  }
  return questions;
}

void RunningStatements::learnt(const Question& question, std::optional<std::uint64_t> fingerprint,
                               Instant now) {
  const auto known = known_.find(proxy::number(question.session));
  if (known == known_.end() || known->second.mark != question.mark) return;
  known->second.fingerprint = fingerprint;
  known->second.answered = now;
}

}  // namespace pgleash::watchdog
