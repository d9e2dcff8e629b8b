#include "tests/script/proxy/stage.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

/// Sessions that never pause keep a worker's relay busy: whatever else the worker does has its turn
/// all the same.
namespace pgleash::proxy {
namespace {

/// Two sessions a worker go back and forth without a pause.
class Traffic {
 public:
  explicit Traffic(Stage& stage) {
    for (int i = 0; i < 4; ++i) pairs_.push_back(stage.login());
    for (Pair& pair : pairs_) {
      threads_.emplace_back([this, &pair] {
        for (; !enough_; ++turns_) pair.echo();
      });
    }
  }
  ~Traffic() {
    enough_ = true;
    for (auto& thread : threads_) thread.join();
  }
  Traffic(const Traffic&) = delete;
  Traffic& operator=(const Traffic&) = delete;

  [[nodiscard]] long turns() const noexcept { return turns_; }

 private:
  std::vector<Pair> pairs_;
  std::vector<std::thread> threads_;
  std::atomic<bool> enough_{false};
  std::atomic<long> turns_{0};
};

TEST(LoopShare, LetsTheWatchdogLookInWhileSessionsNeverPause) {
  Stage stage;
  const Traffic traffic{stage};
  for (int i = 0; i < 300; ++i) ASSERT_EQ(stage.views().size(), 4U) << "look " << i;
  EXPECT_GT(traffic.turns(), 20);
}

TEST(LoopShare, LetsClientsLogInAndBeEndedWhileSessionsNeverPause) {
  Stage stage;
  const Traffic traffic{stage};
  for (int i = 0; i < 100; ++i) {
    Pair pair = stage.login();
    pair.up(wire::query("select pg_sleep(600)"));
    auto asked = stage.carry_out(stage.order_for(pair));
    stage.backend.accept_cancel().connection.close();
    ASSERT_EQ(Stage::result(asked).step, InBandStep::reset_then_cancel) << "kill " << i;
  }
}

TEST(LoopShare, KeepsItsDeadlinesWhileSessionsNeverPause) {
  Stage stage{[](config::Config& config) {
    config.listeners[0].login_timeout = std::chrono::milliseconds{200};
  }};
  const Traffic traffic{stage};
  for (int i = 0; i < 20; ++i) {
    ScriptedPeer silent = stage.connect();
    EXPECT_FALSE(silent.read_to_end().empty()) << "a FATAL for who does not log in, " << i;
  }
}

}  // namespace
}  // namespace pgleash::proxy
