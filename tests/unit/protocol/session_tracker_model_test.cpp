#include "tests/unit/protocol/reference_flow.hpp"
#include "tests/unit/protocol/server_model.hpp"
#include "tests/unit/protocol/trace.hpp"
#include "tests/unit/protocol/whole_messages.hpp"
#include "tests/unit/protocol/wire.hpp"

#include <gtest/gtest.h>

#include <array>
#include <random>
#include <string>
#include <vector>

/// The tracker against a plain second implementation of its rules, and against a server that tells
/// the truth.
namespace pgleash::protocol {
namespace {

using trace::Player;

// --- any messages in any order: tracker and reference agree ---

struct Soup {
  explicit Soup(std::uint32_t seed) : random(seed) {}

  [[nodiscard]] char pick(std::string_view from) { return from[random() % from.size()]; }

  /// What the server might say now, more often than not.
  [[nodiscard]] char answer() {
    if (random() % 8 == 0) return pick("123nTtDCIsGHWVcdEZNAxS");
    const char front = reference.pending.empty() ? 0 : reference.pending[0];
    if (random() % 6 == 0) return 'E';
    switch (front) {
      case 'P':
        return '1';
      case 'B':
        return '2';
      case 'C':
        return '3';
      case 'D':
        return pick("nTt");
      case 'E':
        return reference.copy == '-' ? pick("CCCIsGGHD") : pick("CCEdc");
      case 'Q':
        return reference.copy == '-' ? pick("ZZZCTDGGHI") : pick("CCEdcZ");
      case 'F':
        return pick("VZ");
      case 0:
        return pick("NAZS");
      default:
        return 'Z';
    }
  }

  void play_one() {
    if (random() % 2 == 0) {
      const char type = pick("PBEPBEDCQQFSSSHcfddHc");
      feed(Direction::to_backend, wire::whole_frontend(type));
      reference.frontend(type);
    } else {
      const char type = answer();
      const char extra = type == 'Z' ? pick("IIITE") : 0;
      feed(Direction::to_frontend, wire::whole_backend(type, extra));
      reference.backend(type, extra);
    }
  }

  /// In random pieces to one tracker, whole to the other.
  void feed(Direction direction, std::string_view bytes) {
    const auto give = [direction](Player& player, std::string_view piece) {
      direction == Direction::to_backend ? player.frontend(piece) : player.backend(piece);
    };
    give(whole, bytes);
    while (!bytes.empty()) {
      const std::size_t size = 1 + random() % bytes.size();
      give(pieces, bytes.substr(0, size));
      bytes.remove_prefix(size);
    }
  }

  std::mt19937 random;
  ReferenceFlow reference;
  Player whole;
  Player pieces;
};

TEST(SessionTrackerModel, AgreesWithThePlainRulesOnAnyMessages) {
  for (std::uint32_t seed = 1; seed <= 1500; ++seed) {
    Soup soup{seed};
    for (int message = 0; message < 60; ++message) {
      soup.play_one();
      const SessionFacts& facts = soup.whole.facts();
      ASSERT_EQ(soup.whole.state(), Player::short_name(soup.reference.state()))
          << "seed " << seed << ", " << message;
      ASSERT_EQ(facts.anomalies, soup.reference.anomalies) << "seed " << seed << ", " << message;
      ASSERT_EQ(facts.degraded, soup.reference.degraded) << "seed " << seed << ", " << message;
      ASSERT_EQ(static_cast<char>(facts.transaction), soup.reference.status)
          << "seed " << seed << ", " << message;
      ASSERT_EQ(facts, soup.pieces.facts()) << "seed " << seed << ", " << message;
    }
  }
}

// --- a server that behaves: the tracker knows its state ---

class Conversation {
 public:
  explicit Conversation(std::uint32_t seed) : random_(seed), server_(random_) {}

  void play(int batches) {
    for (int batch = 0; batch < batches && !::testing::Test::HasFatalFailure(); ++batch) {
      for (std::string& message : next_batch()) {
        to_send_.push_back(std::move(message));
        run_a_little();
      }
      if (random_() % 2 == 0) settle();
    }
    settle();
  }

 private:
  [[nodiscard]] std::string statement() {
    static constexpr std::array texts{"select", "select", "begin", "commit", "rollback",
                                      "fail",   "empty",  "out",   "none"};
    return texts[random_() % texts.size()];
  }

  /// One command of a client that keeps to the protocol. A COPY's data is sent at once, or when its
  /// turn comes.
  std::vector<std::string> next_batch() {
    const auto copy = [this] {
      return std::string{std::array{"in", "early", "none"}[random_() % 3]};
    };
    const auto data = [this] { return wire::message('d', random_() % 3 == 0 ? "bad" : "good"); };
    const std::string copy_end =
        random_() % 5 == 0 ? wire::message('f', "no\0") : wire::message('c');
    switch (random_() % 8) {
      case 0:
        return {wire::query(statement())};
      case 1:
        return {wire::query(copy()), data(), data(), copy_end};
      case 2:
        return {wire::query(copy()), data(), wire::sync(), wire::message('H'), copy_end};
      case 3:
        return {wire::parse(copy()), wire::bind(), wire::execute(), wire::sync(), data(), copy_end,
                wire::sync()};
      case 4:
        return {wire::parse(copy()), wire::bind(), wire::execute(),
                wire::message('H'),  data(),       copy_end,
                wire::sync()};
      case 5:
        return {wire::parse(statement()), wire::bind(), wire::message('D', "P"), wire::execute(),
                wire::sync()};
      case 6:
        return {wire::parse(random_() % 5 == 0 ? "nonsense" : statement()), wire::bind(),
                wire::execute(), random_() % 2 == 0 ? wire::message('H') : wire::close('S', "x")};
      default:
        return {wire::sync()};
    }
  }

  /// Some of: the client's bytes cross, the server works, its answers cross.
  void run_a_little() {
    for (auto turns = random_() % 6; turns > 0; --turns) turn();
  }

  bool turn() {
    bool moved = false;
    switch (random_() % 3) {
      case 0:
        if (to_send_.empty()) break;
        player_.frontend(to_send_.front());
        server_.receive(std::move(to_send_.front()));
        to_send_.pop_front();
        moved = true;
        break;
      case 1:
        moved = server_.step();
        break;
      default:
        if (server_.sent().empty()) break;
        player_.backend(server_.sent().front());
        server_.sent().pop_front();
        moved = true;
        break;
    }
    expect_idle_only_when_it_is();
    return moved;
  }

  void settle() {
    for (int still = 0; still < 60;) still = turn() ? 0 : still + 1;
    ASSERT_TRUE(to_send_.empty() && server_.sent().empty());
    EXPECT_EQ(player_.state(), Player::short_name(server_.state()));
    EXPECT_EQ(player_.facts().anomalies, 0U);
    EXPECT_FALSE(player_.facts().degraded);
  }

  /// The promise that matters: what is believed idle has nothing to do and will say nothing.
  void expect_idle_only_when_it_is() {
    const SessionState state = player_.facts().state;
    if (state != SessionState::idle && state != SessionState::idle_in_transaction &&
        state != SessionState::aborted)
      return;
    ASSERT_FALSE(server_.has_work());
    for (const std::string& message : server_.sent()) ASSERT_EQ(message[0], 'Z');
  }

  std::mt19937 random_;
  ServerModel server_;
  std::deque<std::string> to_send_;
  Player player_;
};

TEST(SessionTrackerModel, KnowsTheStateOfAServerThatKeepsToTheProtocol) {
  for (std::uint32_t seed = 1; seed <= 2000; ++seed) {
    SCOPED_TRACE(seed);
    Conversation{seed}.play(12);
    ASSERT_FALSE(::testing::Test::HasFailure());
  }
}

}  // namespace
}  // namespace pgleash::protocol
