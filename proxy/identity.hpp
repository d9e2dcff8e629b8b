#pragma once

#include "config/config.hpp"

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace pgleash::proxy {

/// What "application" means: the reported application_name unless it is empty or a driver's
/// default, else the listener's name for such sessions, else user@database. Immutable after
/// construction; any thread.
class ApplicationNames {
 public:
  explicit ApplicationNames(const config::Identity& identity);
  ~ApplicationNames();
  ApplicationNames(const ApplicationNames&) = delete;
  ApplicationNames& operator=(const ApplicationNames&) = delete;

  [[nodiscard]] std::string resolve(std::string_view application_name,
                                    std::string_view listener_default, std::string_view user,
                                    std::string_view database) const;

 private:
  struct Patterns;
  std::unique_ptr<Patterns> patterns_;
};

}  // namespace pgleash::proxy
