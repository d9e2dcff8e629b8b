#pragma once

#include "config/config.hpp"

#include <string_view>
#include <utility>
#include <vector>

namespace pgleash::config {

/// CIDR networks against a client's address as text. A Unix-socket client has none and is in no
/// network.
class Networks {
 public:
  Networks() = default;
  explicit Networks(std::vector<Network> networks) : networks_(std::move(networks)) {}

  [[nodiscard]] bool contain(std::string_view address) const;
  [[nodiscard]] bool empty() const noexcept { return networks_.empty(); }

 private:
  std::vector<Network> networks_;
};

}  // namespace pgleash::config
