#pragma once

#include "tests/scenario/story/application.hpp"

#include <atomic>
#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

namespace pgleash::test {

/// What one client did and what became of it. Statements carry numbers, "/*17*/SELECT 1", that grow
/// with time in each client.
struct FickleHistory {
  using WallTime = std::chrono::system_clock::time_point;
  struct Refused {
    ServerError error;
    long number = 0;  ///< of the statement that got the error
    long before = 0;  ///< of the client's statement before it
    WallTime sent{};  ///< when it had left the client
  };
  std::vector<long> acknowledged;  ///< rows of `deeds` that the client was told are there
  std::vector<Refused> refused;
  std::map<long, long> behind;  ///< row that was sent right behind a statement, and that statement
  long statements = 0;

  void add(const FickleHistory& other);
};

/// A client that changes its mind within milliseconds: idle, idle in a transaction, in a failed
/// one, in an open and in a failed pipeline, in COPY IN, and busy, each for about as long as the
/// rules allow. Comes back when it is ended. Expects no error but those it makes itself.
class FickleClient {
 public:
  /// `longest`: of its pauses, a little above the limits. `words`: of a login.
  FickleClient(std::map<std::string, std::string> words, unsigned seed,
               std::chrono::milliseconds longest)
      : words_(std::move(words)),
        random_(seed),
        longest_(longest),
        next_(static_cast<long>(seed) * 100'000'000) {}

  void run(const std::atomic<bool>& enough);
  [[nodiscard]] const FickleHistory& history() const noexcept { return history_; }

 private:
  int pick(int from, int to) { return std::uniform_int_distribution<int>{from, to}(random_); }
  void alive();
  void rest();
  long number() { return before_ = number_, number_ = ++next_; }
  static std::string numbered(long number, const std::string& sql);

  bool attempt(const std::string& sql, const std::string& own_error = {});
  bool expect(std::optional<ServerError> error, const std::string& own_error);
  void mark_sent();
  [[nodiscard]] ServerError lost() const;

  void idle();
  void transaction();
  void aborted();
  void open_pipeline();
  void failed_pipeline();
  void pipelined_behind_work();
  void copy_in();
  void work();

  bool sync();
  bool queue(const std::string& sql);
  std::optional<ServerError> results(bool up_to_sync);
  void leave_pipeline();

  std::map<std::string, std::string> words_;
  std::minstd_rand random_;
  std::chrono::milliseconds longest_;
  long next_;
  long number_ = 0;
  long before_ = 0;
  FickleHistory::WallTime sent_{};
  std::unique_ptr<Application> application_;
  bool ended_ = false;
  FickleHistory history_;
};

}  // namespace pgleash::test
