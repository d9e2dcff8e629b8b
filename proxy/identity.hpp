#pragma once

#include "config/config.hpp"

#include <memory>
#include <string>
#include <string_view>

namespace pgleash::proxy {

/// What is known of a session that may give it a name.
struct NameSources {
  std::string_view application_name;
  std::string_view listener_default;
  std::string_view client_address;  ///< empty for a Unix socket
  std::string_view user;
  std::string_view database;
};

/// What "application" means ([identity]): of the configured sources the first that is not empty or
/// a driver's default; a reported application_name folded, so that the copies of one service are
/// one. Immutable after construction; any thread.
class ApplicationNames {
 public:
  explicit ApplicationNames(const config::Identity& identity);
  ~ApplicationNames();
  ApplicationNames(const ApplicationNames&) = delete;
  ApplicationNames& operator=(const ApplicationNames&) = delete;

  /// Empty only when no source gives a name.
  [[nodiscard]] std::string resolve(const NameSources& known) const;
  /// Whether it names an application: it is not empty, and no driver's default.
  [[nodiscard]] bool is_name(std::string_view application_name) const;
  /// Whether each SET after the login renames the session; one that brought no name takes the first
  /// that it sets in any case.
  [[nodiscard]] bool follow_set() const noexcept { return identity_.follow_set; }

 private:
  struct Patterns;
  [[nodiscard]] std::string reported(std::string_view application_name) const;
  [[nodiscard]] std::string mapped(std::string_view client_address) const;

  config::Identity identity_;
  std::unique_ptr<Patterns> patterns_;
};

}  // namespace pgleash::proxy
