#include "metrics/explain_json.hpp"

#include "metrics/json_text.hpp"

#include <fmt/format.h>

namespace pgleash::metrics {
namespace {

std::string rule(const watchdog::RuleExplanation& one) {
  return fmt::format(
      R"({{"rule":{},"kind":{},"action":{},"standing":{},"why":{},"exemption":{},)"
      R"("age_seconds":{},"warn_seconds":{},"limit_seconds":{},"passes_in_seconds":{}}})",
      json_text(one.rule), json_text(config::name(one.kind)), json_text(config::name(one.action)),
      json_text(watchdog::name(one.standing)), json_text(one.why),
      one.exemption == watchdog::Exemption::none ? "null"
                                                 : json_text(watchdog::name(one.exemption)),
      json_seconds(one.age), json_seconds(one.warn), json_seconds(one.limit),
      json_seconds(one.passes_in));
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
      proxy::number(view.id), json_text(who.server), json_text(who.user), json_text(who.database),
      json_text(who.application), json_text(protocol::name(view.facts.state)),
      json_text(config::name(explanation.locks.mode)), json_seconds(explanation.locks.hold_off),
      first == nullptr ? "null" : json_text(first->rule), json_seconds(explanation.acts_in()),
      rules);
}

}  // namespace pgleash::metrics
