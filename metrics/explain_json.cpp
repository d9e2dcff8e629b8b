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

std::string statement(const watchdog::Fingerprint& one) {
  return one.hash.empty() ? "null" : json_prose(one.text);
}
std::string hash(const watchdog::Fingerprint& one) {
  return one.hash.empty() ? "null" : json_text(one.hash);
}
std::string number(const std::optional<std::uint64_t>& value) {
  return value ? std::to_string(*value) : "null";
}

std::string evidence(const watchdog::SessionEvidence& found) {
  std::string tags;
  for (const auto& [key, value] : found.tags)
    tags += fmt::format("{}{}:{}", tags.empty() ? "" : ",", json_text(key), json_text(value));
  return fmt::format(R"({{"statement":{},"statement_fingerprint":{},"statement_age_seconds":{},)"
                     R"("first_statement":{},"first_statement_fingerprint":{},"tags":{{{}}},)"
                     R"("bytes_to_server":{},"bytes_to_client":{}}})",
                     statement(found.last), hash(found.last), json_seconds(found.age),
                     statement(found.first), hash(found.first), tags, number(found.bytes_to_server),
                     number(found.bytes_to_client));
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
      R"("mode":{},"hold_off_seconds":{},"acts":{},"acts_in_seconds":{},"evidence":{},"rules":[{}]}})",
      proxy::number(view.id), json_text(who.server), json_text(who.user), json_text(who.database),
      json_text(who.application), json_text(protocol::name(view.facts.state)),
      json_text(config::name(explanation.locks.mode)), json_seconds(explanation.locks.hold_off),
      first == nullptr ? "null" : json_text(first->rule), json_seconds(explanation.acts_in()),
      evidence(explanation.evidence), rules);
}

}  // namespace pgleash::metrics
