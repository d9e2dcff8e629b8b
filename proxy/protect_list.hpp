#pragma once

#include "config/name_patterns.hpp"
#include "config/networks.hpp"
#include "proxy/session_view.hpp"

#include <vector>

namespace pgleash::proxy {

/// Whose abandoned queries are left alone: the section [protect] as the workers need it, compiled.
/// Means the same by it as the rules do. Immutable; any thread.
class ProtectList {
 public:
  /// Patterns are those of a configuration that was checked: a faulty one protects nobody.
  explicit ProtectList(const config::Protect& protect);

  /// `superuser`: the server called it one at the login.
  [[nodiscard]] bool spares(const SessionIdentity& who, bool superuser) const;

 private:
  struct Entry {
    config::NamePatterns application;
    config::NamePatterns users;
  };
  bool superusers_;
  config::NamePatterns users_;
  config::Networks clients_;
  std::vector<Entry> entries_;
};

}  // namespace pgleash::proxy
