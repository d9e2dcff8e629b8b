#pragma once

#include "config/config.hpp"
#include "watchdog/nameless.hpp"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace pgleash::watchdog {

/// What the server says of itself and of the monitor's role, as far as that role may see it.
struct ServerFacts {
  std::int32_t version = 0;  ///< 150018
  std::string role;          ///< quoted where SQL needs it
  bool superuser = false;
  bool sees_sessions = false;       ///< pg_read_all_stats
  bool may_signal = false;          ///< pg_signal_backend
  bool may_use_reserved = true;     ///< pg_use_reserved_connections; true before 16, which lacks it
  bool public_may_connect = false;  ///< anybody may connect to the monitor's database
  std::string database;             ///< of the monitor; quoted where SQL needs it
  /// pg_settings by name, in its own unit; absent: this version has none of the name.
  std::map<std::string, std::string, std::less<>> settings;
  /// A timeout of PostgreSQL's own that a role or a database has: "role app in database orders".
  struct RoleSetting {
    std::string whose;
    std::string name;
    std::string value;
  };
  std::vector<RoleSetting> role_settings;
  /// A line of pg_hba.conf that lets our address in without a proof.
  struct TrustLine {
    std::int32_t line = 0;
    std::string method;
  };
  std::optional<std::vector<TrustLine>> trust_lines;  ///< absent: not readable for the role
  std::uint32_t sessions = 0;                         ///< client backends now, without ours
  std::vector<Nameless> nameless;  ///< those among them that say nothing of their application
};

enum class Gravity : std::uint8_t {
  note,     ///< could be better
  warning,  ///< something will not work as it should
  error,    ///< the monitor cannot work
};
[[nodiscard]] std::string_view name(Gravity gravity) noexcept;

/// What an advice on sessions without a name is about.
inline constexpr std::string_view names_advice = "application_name";

struct Advice {
  Gravity gravity = Gravity::note;
  std::string about;    ///< the setting, grant or place: stable, for machines
  std::string message;  ///< what is, and what follows from it
  std::string remedy;   ///< what to run or write; may be empty
  bool operator==(const Advice&) const = default;
};

/// What an operator should know before relying on it, the gravest first. Pure.
[[nodiscard]] std::vector<Advice> advise(const ServerFacts& facts, const config::Config& config,
                                         const config::Server& server);

}  // namespace pgleash::watchdog
