#include "watchdog/explain.hpp"

#include "watchdog/message.hpp"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>

namespace pgleash::watchdog {
namespace {

bool may_act(const RuleExplanation& rule) noexcept {
  return rule.action != config::Action::observe && rule.exemption == Exemption::none &&
         rule.passes_in && rule.standing != Standing::judged;
}

std::string line_of(const RuleExplanation& rule) {
  std::string line = fmt::format("  {:<24} {:<20} {:<12} {}", rule.rule, config::name(rule.kind),
                                 name(rule.standing), rule.why);
  return line + "\n";
}

}  // namespace

std::string_view name(Standing standing) noexcept {
  switch (standing) {
    case Standing::not_judged:
      return "not_judged";
    case Standing::not_selected:
      return "not_selected";
    case Standing::not_in_state:
      return "not_in_state";
    case Standing::blind:
      return "blind";
    case Standing::below:
      return "below";
    case Standing::warned:
      return "warned";
    case Standing::exempt:
      return "exempt";
    case Standing::over:
      return "over";
    case Standing::judged:
      break;
  }
  return "judged";
}

const RuleExplanation* SessionExplanation::first_to_act() const noexcept {
  const RuleExplanation* first = nullptr;
  // The first in order wins among those that are due at the same time.
  for (const RuleExplanation& rule : rules)
    if (may_act(rule) && (first == nullptr || *rule.passes_in < *first->passes_in)) first = &rule;
  return first;
}

std::optional<Duration> SessionExplanation::acts_in() const noexcept {
  const RuleExplanation* first = first_to_act();
  if (first == nullptr) return std::nullopt;
  return std::max(*first->passes_in, locks.hold_off);
}

std::string in_utc(std::chrono::system_clock::time_point wall) {
  const auto second = std::chrono::floor<std::chrono::seconds>(wall);
  return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}",
                     fmt::gmtime(std::chrono::system_clock::to_time_t(second)));
}

std::string to_text(const SessionExplanation& explanation,
                    std::chrono::system_clock::time_point wall) {
  const proxy::SessionView& view = explanation.session.view;
  const proxy::SessionIdentity& who = *view.who;
  std::string text =
      fmt::format("session {} of {}@{} ({}), {}\n", proxy::number(view.id), printable(who.user),
                  printable(who.database),
                  who.application.empty() ? "no application" : printable(who.application),
                  protocol::name(view.facts.state));
  text += to_text(explanation.evidence);
  for (const RuleExplanation& rule : explanation.rules) text += line_of(rule);
  const RuleExplanation* first = explanation.first_to_act();
  if (first == nullptr) return text + "  no rule acts on it while it stays as it is\n";
  const Duration in = *explanation.acts_in();
  const auto at = wall + std::chrono::duration_cast<std::chrono::system_clock::duration>(in);
  const bool enforce = explanation.locks.mode == config::Mode::enforce;
  text += fmt::format(
      "  if it stays as it is, rule '{}' {} in {}, at {}", first->rule,
      enforce ? fmt::format("acts ({})", config::name(first->action))
              : fmt::format("would act ({}), but the mode is observe", config::name(first->action)),
      in_seconds(in), in_utc(at));
  if (enforce && explanation.locks.hold_off > *first->passes_in) text += ", when the hold-off ends";
  return text + "\n";
}

}  // namespace pgleash::watchdog
