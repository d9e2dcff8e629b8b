#include "metrics/explain_json.hpp"

#include "metrics/labels.hpp"

#include <fmt/format.h>

#include <chrono>
#include <optional>
#include <string_view>

namespace pgleash::metrics {
namespace {

/// clean_label() leaves valid UTF-8 without control characters.
std::string text(std::string_view value) {
  std::string quoted{'"'};
  for (const char c : clean_label(value)) {
    if (c == '"' || c == '\\') {
      quoted += '\\';
    }
    quoted += c;
  }
  return quoted + '"';
}

std::string seconds(std::optional<Duration> duration) {
  return duration ? fmt::format("{:.3f}", std::chrono::duration<double>(*duration).count())
                  : std::string{"null"};
}

std::string rule(const watchdog::RuleExplanation& one) {
  return fmt::format(
      R"({{"rule":{},"kind":{},"action":{},"standing":{},"why":{},"exemption":{},)"
      R"("age_seconds":{},"warn_seconds":{},"limit_seconds":{},"passes_in_seconds":{}}})",
      text(one.rule), text(config::name(one.kind)), text(config::name(one.action)),
      text(watchdog::name(one.standing)), text(one.why),
      one.exemption == watchdog::Exemption::none ? "null" : text(watchdog::name(one.exemption)),
      seconds(one.age), seconds(one.warn), seconds(one.limit), seconds(one.passes_in));
}

}  // namespace

std::string to_json(const watchdog::SessionExplanation& explanation) {
  const auto& view = explanation.session.view;
  const auto& who = *view.who;
  std::string rules;
  for (const watchdog::RuleExplanation& one : explanation.rules) {
    rules += (rules.empty() ? "" : ",") + rule(one);
  }
  const watchdog::RuleExplanation* first = explanation.first_to_act();
  // The number as text: 64 bits do not survive readers whose numbers are doubles.
  return fmt::format(
      R"({{"session":"{}","server":{},"user":{},"database":{},"application":{},"state":{},)"
      R"("mode":{},"hold_off_seconds":{},"acts":{},"acts_in_seconds":{},"rules":[{}]}})",
      proxy::number(view.id), text(who.server), text(who.user), text(who.database),
      text(who.application), text(protocol::name(view.facts.state)),
      text(config::name(explanation.locks.mode)), seconds(explanation.locks.hold_off),
      first == nullptr ? "null" : text(first->rule), seconds(explanation.acts_in()), rules);
}

}  // namespace pgleash::metrics
