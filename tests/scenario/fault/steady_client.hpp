#pragma once

#include "tests/support/libpq_client.hpp"

#include <atomic>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace pgleash::test {

/// An application that does nothing wrong: one short transaction after the other, from a thread of
/// its own, each answer compared with what it has to be. What a fault elsewhere does to it is
/// counted.
class SteadyClient {
 public:
  /// When its session ends: an error, or what had to be expected and a reason to log in again.
  enum class WhenLost : std::uint8_t { error, log_in_again };

  explicit SteadyClient(std::map<std::string, std::string> words,
                        WhenLost when_lost = WhenLost::error);
  ~SteadyClient();
  SteadyClient(const SteadyClient&) = delete;
  SteadyClient& operator=(const SteadyClient&) = delete;

  [[nodiscard]] long transactions() const noexcept { return transactions_; }
  /// Sessions that ended and were begun anew.
  [[nodiscard]] long lost() const noexcept { return lost_; }
  [[nodiscard]] std::vector<std::string> errors() const;
  /// Whether so many more transactions are done in time.
  [[nodiscard]] bool works_on(long more = 20,
                              std::chrono::nanoseconds patience = std::chrono::seconds{20}) const;

 private:
  void run();
  void transact(LibpqClient& client);
  void failed(const std::string& what);

  std::map<std::string, std::string> words_;
  WhenLost when_lost_;
  std::atomic<long> transactions_ = 0;
  std::atomic<long> lost_ = 0;
  std::atomic<bool> stopping_ = false;
  mutable std::mutex mutex_;
  std::vector<std::string> errors_;  ///< guarded by mutex_
  std::thread thread_;
};

}  // namespace pgleash::test
