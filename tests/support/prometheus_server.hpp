#pragma once

#include "tests/support/process.hpp"
#include "tests/support/temp_dir.hpp"

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace pgleash::test {

/// A real Prometheus of this test's own, which scrapes one pgleash as job `pgleash` every second
/// and evaluates the shipped alerts as often. Gone with the object.
class PrometheusServer {
 public:
  /// False: there is no prometheus or promtool here, skip loudly.
  [[nodiscard]] static bool available();

  /// The alerts of the source tree as they are, but for their waiting times: `for: 2m` is two
  /// seconds here. Ready when constructed; throws with what Prometheus said when it does not become
  /// so.
  PrometheusServer(const std::string& source, std::uint16_t metrics_port);

  /// Instant vector; empty when nothing answers to it. Throws when Prometheus cannot parse it.
  [[nodiscard]] boost::json::array query(const std::string& expression) const;
  /// The firing alerts of that name: their labels and annotations.
  [[nodiscard]] std::vector<boost::json::object> firing(const std::string& alert) const;

 private:
  [[nodiscard]] boost::json::object get(const std::string& path,
                                        const std::string& query = {}) const;

  TempDir directory_;
  std::uint16_t port_;
  std::optional<Process> process_;
};

}  // namespace pgleash::test
