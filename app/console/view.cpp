#include "app/console/view.hpp"

#include <array>
#include <utility>
#include <vector>

namespace pgleash::console {
namespace {

constexpr std::array<std::pair<std::string_view, View>, 11> names{{
    {"sessions", View::sessions},
    {"pg_stat_activity", View::sessions},
    {"rules", View::rules},
    {"actions", View::actions},
    {"leaks", View::leaks},
    {"blocking", View::blocking},
    {"fuses", View::fuses},
    {"servers", View::servers},
    {"config", View::config},
    {"version", View::version},
    {"help", View::help},
}};

using Columns = std::vector<Column>;
using enum Type;

const Columns& sessions() {
  static const Columns columns{
      {"datid", oid},
      {"datname", Type::name},
      {"pid", int4},
      {"leader_pid", int4},
      {"usesysid", oid},
      {"usename", Type::name},
      {"application_name", Type::text},
      {"client_addr", inet},
      {"client_hostname", Type::text},
      {"client_port", int4},
      {"backend_start", timestamp},
      {"xact_start", timestamp},
      {"query_start", timestamp},
      {"state_change", timestamp},
      {"wait_event_type", Type::text},
      {"wait_event", Type::text},
      {"state", Type::text},
      {"backend_xid", xid},
      {"backend_xmin", xid},
      {"query_id", int8},
      {"query", Type::text},
      {"backend_type", Type::text},
      // Ours.
      {"session", int8},
      {"server", Type::text},
      {"origin", Type::text},
      {"application", Type::text},
      {"listener", Type::text},
      {"leg_addr", inet},
      {"leg_port", int4},
      {"mapping", Type::text},
      {"proxy_state", Type::text},
      {"state_age", interval},
      {"session_age", interval},
      {"superuser", boolean},
      {"exempt_until", timestamp},
      {"bytes_to_server", int8},
      {"bytes_to_client", int8},
  };
  return columns;
}

const Columns& rules() {
  static const Columns columns{
      {"server", Type::text},   {"name", Type::text},     {"kind", Type::text},
      {"action", Type::text},   {"value", Type::text},    {"warn_after", interval},
      {"acts_after", interval}, {"matching", int8},       {"warned", int8},
      {"unjudged", int8},       {"observed", int8},       {"confirmed", int8},
      {"recovered", int8},      {"other_outcomes", int8},
  };
  return columns;
}

const Columns& actions() {
  static const Columns columns{
      {"at", timestamp},       {"incident", Type::text},
      {"server", Type::text},  {"rule", Type::text},
      {"kind", Type::text},    {"action", Type::text},
      {"mode", Type::text},    {"outcome", Type::text},
      {"actor", Type::text},   {"session", int8},
      {"pid", int4},           {"usename", Type::name},
      {"datname", Type::name}, {"application", Type::text},
      {"client_addr", inet},   {"state", Type::text},
      {"measured", interval},  {"acts_after", interval},
      {"step", Type::text},    {"took", interval},
      {"why", Type::text},
  };
  return columns;
}

const Columns& leaks() {
  static const Columns columns{
      {"server", Type::text},
      {"application", Type::text},
      {"usename", Type::name},
      {"datname", Type::name},
      {"suspects", int8},
      {"sessions", int8},
      {"floor", int8},
      {"growth_per_hour", float8},
      {"exhaustion_in", interval},
      {"quota", Type::text},
      {"quota_refuses_in", interval},
      {"unused", interval},
      {"statement", Type::text},
      {"statement_fingerprint", Type::text},
      {"same_statement", float8},
      {"first_statement", Type::text},
      {"tags", Type::text},
      {"why", Type::text},
  };
  return columns;
}

const Columns& blocking() {
  static const Columns columns{
      {"server", Type::text},
      {"blocker_kind", Type::text},
      {"blocker_pid", int4},
      {"blocker_session", int8},
      {"blocker_usename", Type::name},
      {"blocker_datname", Type::name},
      {"blocker_application", Type::text},
      {"blocker_state", Type::text},
      {"gid", Type::text},
      {"blocked_pid", int4},
      {"blocked_session", int8},
      {"behind_pid", int4},
      {"lock_type", Type::text},
      {"mode", Type::text},
      {"waited", interval},
      {"because_of_it", interval},
  };
  return columns;
}

const Columns& fuses() {
  static const Columns columns{
      {"server", Type::text}, {"fuse", Type::text},        {"scope", Type::text},
      {"rule", Type::text},   {"application", Type::text}, {"closes_in", interval},
      {"why", Type::text},
  };
  return columns;
}

const Columns& servers() {
  static const Columns columns{
      {"server", Type::text},      {"address", Type::text},   {"mode", Type::text},
      {"enforcement", Type::text}, {"monitor_up", boolean},   {"monitor_problem", Type::text},
      {"sample_age", interval},    {"proxied", int8},         {"direct", int8},
      {"background", int8},        {"max_connections", int8}, {"reserved", int8},
      {"orphans", int8},           {"survivors", int8},       {"waiting", int8},
      {"open_fuses", int8},        {"manual_kills", int8},
  };
  return columns;
}

const Columns& config() {
  static const Columns columns{{"key", Type::text}, {"value", Type::text}};
  return columns;
}

const Columns& version() {
  static const Columns columns{
      {"version", Type::text}, {"revision", Type::text}, {"started", timestamp}};
  return columns;
}

const Columns& help() {
  static const Columns columns{{"command", Type::text}, {"role", Type::text}, {"what", Type::text}};
  return columns;
}

}  // namespace

std::optional<View> view_named(std::string_view wanted) noexcept {
  for (const auto& [text, view] : names)
    if (text == wanted) return view;
  return std::nullopt;
}

std::string_view name(View view) noexcept {
  for (const auto& [text, one] : names)
    if (one == view) return text;
  return "?";
}

std::span<const Column> columns_of(View view) noexcept {
  switch (view) {
    case View::sessions:
      return sessions();
    case View::rules:
      return rules();
    case View::actions:
      return actions();
    case View::leaks:
      return leaks();
    case View::blocking:
      return blocking();
    case View::fuses:
      return fuses();
    case View::servers:
      return servers();
    case View::config:
      return config();
    case View::version:
      return version();
    case View::help:
      break;
  }
  return help();
}

std::optional<std::size_t> column_of(View view, std::string_view wanted) noexcept {
  const auto columns = columns_of(view);
  for (std::size_t i = 0; i < columns.size(); ++i)
    if (columns[i].name == wanted) return i;
  return std::nullopt;
}

}  // namespace pgleash::console
