#pragma once

#include "tests/scenario/fault/steady_client.hpp"
#include "tests/support/pgleash_process.hpp"
#include "tests/support/postgres.hpp"

#include <cstddef>
#include <map>
#include <memory>
#include <string>

namespace pgleash::test {

/// What has to hold of a pgleash after a fault, whatever the fault was.
class House {
 public:
  /// Takes the measure of it, with a steady client at work, before the fault.
  House(Postgres& postgres, PgleashProcess& pgleash,
        SteadyClient::WhenLost when_lost = SteadyClient::WhenLost::error);

  [[nodiscard]] SteadyClient& steady() { return *steady_; }

  /// The house is in order: who did nothing wrong was not disturbed, new clients are served, no
  /// descriptor, memory or backend is left behind, each verdict has one outcome, and the audit
  /// log's chain is whole. What is on its way out is waited for.
  void expect_in_order();
  /// And an operator could have been woken: this metric rose.
  void watch(const std::string& metric, const Labels& labels = {});

  /// Open descriptors of a process; and its memory in KiB that is backed by RAM, or its address
  /// space ("VmSize").
  [[nodiscard]] static std::size_t descriptors(pid_t pid);
  [[nodiscard]] static long memory(pid_t pid, const std::string& which = "VmRSS");

  /// Descriptors that come and go: a page being read, a cancel under way.
  static constexpr std::size_t spare_descriptors = 4;
  /// What the allocator may keep of a burst.
  static constexpr long spare_memory_kib = 48 * 1024;

 private:
  struct Watched {
    std::string metric;
    Labels labels;
    double before;
  };

  Postgres& postgres_;
  PgleashProcess& pgleash_;
  bool may_be_lost_;
  std::unique_ptr<SteadyClient> steady_;
  std::size_t descriptors_ = 0;
  long memory_ = 0;
  std::vector<Watched> watched_;
};

}  // namespace pgleash::test
