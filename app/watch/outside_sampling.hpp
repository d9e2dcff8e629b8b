#pragma once

#include "config/config.hpp"
#include "config/diagnostic.hpp"
#include "config/loader.hpp"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

/// What `watch` and `record` have in common before they look: whom to ask, and by what rules.
namespace pgleash::app {

struct Outside {
  config::Config config;  ///< one server: the one to look at
  std::string place;      ///< where it is, for people
};

/// `server` is a connection string, or empty: the one server of the file, else libpq's environment.
/// `config_file` may be empty. Prints nothing: `why` is one line for people when there is nothing,
/// `diagnostics` what is wrong with the file.
[[nodiscard]] std::optional<Outside> read_outside(const std::string& server,
                                                  const std::string& config_file,
                                                  const std::string& interval, std::string& why,
                                                  std::vector<config::Diagnostic>& diagnostics);

/// A file for its rules: one without a server or listener is fine here, as none is needed.
[[nodiscard]] config::LoadResult load_rules(const std::string& file);

/// What to do about a monitor's problem; empty: nothing comes to mind.
[[nodiscard]] std::string remedy_for(std::string_view problem);

/// Overwrites a password in an argument of the command line, where every user of the machine could
/// read it. Whether there was one.
bool hide_password(char* argument) noexcept;

}  // namespace pgleash::app
