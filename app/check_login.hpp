#pragma once

#include "config/config.hpp"
#include "proxy/login_probe.hpp"
#include "watchdog/server_advice.hpp"

#include <string>
#include <vector>

namespace pgleash::app {

/// What was found of one role's way through one listener.
struct LoginFinding {
  std::string listener;
  std::string server;
  std::string role;
  bool replication = false;  ///< its way as a standby
  watchdog::Gravity gravity = watchdog::Gravity::note;
  std::string message;
  std::string remedy;
};

struct LoginQuestion {
  std::vector<std::string> roles;  ///< asked for by name; those of the configuration come too
  std::string database = "postgres";
};

/// Which way of logging in applies (the modes of docs/tls.md), and why; or that nobody is asked for
/// anything. Pure.
[[nodiscard]] LoginFinding judge_login(const config::Listener& listener, const std::string& role,
                                       const proxy::LoginOffer& offer, bool same_certificate);

/// A role that is nowhere: if the server takes its word, it takes everybody's.
inline constexpr const char* role_of_nobody = "pgleash_check";

/// Tries roles without a password, over the very legs that sessions take: those asked for, the
/// monitor's, the console's, `postgres`, the operating system's user, and one that does not exist;
/// each as a standby too. Of the last three, and of standbys, only that they get in is told.
/// Blocks: for the command line.
[[nodiscard]] std::vector<LoginFinding> check_logins(const config::Config& config,
                                                     const LoginQuestion& question);

[[nodiscard]] watchdog::Gravity gravest(const std::vector<LoginFinding>& findings) noexcept;
[[nodiscard]] std::string to_text(const std::vector<LoginFinding>& findings);
/// An array, as the value of "logins".
[[nodiscard]] std::string to_json(const std::vector<LoginFinding>& findings);

}  // namespace pgleash::app
