#include "tests/unit/protocol/trace.hpp"

#include "tests/unit/protocol/wire.hpp"

#include <gtest/gtest.h>

#include <map>
#include <stdexcept>

namespace pgleash::protocol::trace {
namespace {

struct Token {
  std::string word;
  std::optional<std::string> argument;
};

std::vector<Token> tokens(std::string_view script) {
  std::vector<Token> found;
  std::size_t at = 0;
  while ((at = script.find_first_not_of(" \n", at)) != std::string_view::npos) {
    const std::size_t end = std::min(script.find_first_of(" \n(<>=", at + 1), script.size());
    Token token{.word = std::string{script.substr(at, end - at)}, .argument = std::nullopt};
    at = end;
    if (at < script.size() && script[at] == '(') {
      int depth = 0;
      const std::size_t open = at;
      do {
        if (script[at] == '(') ++depth;
        if (script[at] == ')') --depth;
        ++at;
      } while (depth != 0);
      token.argument = script.substr(open + 1, at - open - 2);
    }
    found.push_back(token);
  }
  return found;
}

std::string frontend_message(const Token& token) {
  const std::string argument = token.argument.value_or("");
  switch (token.word.at(0)) {
    case 'Q':
      return wire::query(argument);
    case 'P': {
      const std::size_t colon = argument.find(": ");
      return colon == std::string::npos
                 ? wire::parse(argument)
                 : wire::parse(argument.substr(colon + 2), argument.substr(0, colon));
    }
    case 'B':
      return wire::bind(argument);
    case 'E':
      return wire::execute(argument);
    case 'C':
      return wire::close('S', argument);
    case 'D':
      return wire::message('D', wire::zero_ended("P"));
    default:
      return wire::message(token.word[0], argument);
  }
}

std::string backend_message(const Token& token) {
  const std::string argument = token.argument.value_or("");
  if (token.word == "FATAL") return wire::error(token.argument.value_or("57P01"), "FATAL");
  switch (token.word.at(0)) {
    case 'C':
      return wire::complete(token.argument.value_or("SELECT 1"));
    case 'E':
      return wire::error(token.argument.value_or("22012"));
    case 'Z':
      return wire::ready(argument.empty() ? 'I' : argument[0]);
    case 'R':
      return wire::authentication(static_cast<std::uint32_t>(std::stoul(argument)));
    case 'S': {
      const std::size_t equals = argument.find('=');
      return wire::parameter(argument.substr(0, equals), argument.substr(equals + 1));
    }
    default:
      return wire::message(token.word[0], argument);
  }
}

}  // namespace

std::vector<Step> read(std::string_view script) {
  std::vector<Step> steps;
  char mode = 0;
  for (const Token& token : tokens(script)) {
    if (token.word == ">" || token.word == "<" || token.word == "=") {
      mode = token.word[0];
      steps.emplace_back();
      if (mode == '>') steps.back().direction = Direction::to_backend;
      if (mode == '<') steps.back().direction = Direction::to_frontend;
    } else if (mode == '>') {
      steps.back().bytes += frontend_message(token);
    } else if (mode == '<') {
      steps.back().bytes += backend_message(token);
    } else if (mode == '=') {
      steps.back().state = token.word;
    } else {
      throw std::invalid_argument{"a trace begins with a direction"};
    }
  }
  return steps;
}

void Report::backend_key(BackendPid pid, Bytes secret) {
  events += "key " + std::to_string(static_cast<std::int32_t>(pid)) + "/" +
            std::to_string(secret.size()) + "\n";
}
void Report::parameter_status(std::string_view name, std::string_view value) {
  events.append(name).append("=").append(value).append("\n");
}
void Report::server_error(std::string_view severity, std::string_view sqlstate) {
  events.append(severity).append(" ").append(sqlstate).append("\n");
}
void Report::negotiated_minor(std::int32_t newest_minor) {
  events += "minor " + std::to_string(newest_minor) + "\n";
}

Player::Player() {
  backend(wire::login());
  now += std::chrono::seconds{1};
}

Changes Player::frontend(std::string_view bytes) {
  return tracker.on_frontend(wire::bytes(bytes), now, report);
}
Changes Player::backend(std::string_view bytes) {
  return tracker.on_backend(wire::bytes(bytes), now, report);
}

void Player::play(const std::vector<Step>& steps, Chunks chunks, std::size_t cut_step,
                  std::size_t cut_at) {
  for (std::size_t number = 0; number < steps.size(); ++number) {
    const Step& step = steps[number];
    if (!step.direction) {
      EXPECT_EQ(state(), step.state) << "at step " << number;
      seen.push_back(facts());
      continue;
    }
    now += std::chrono::seconds{1};
    const auto feed = [&](std::string_view bytes) {
      *step.direction == Direction::to_backend ? frontend(bytes) : backend(bytes);
    };
    const std::string_view bytes = step.bytes;
    if (chunks == Chunks::bytewise) {
      for (std::size_t i = 0; i < bytes.size(); ++i) feed(bytes.substr(i, 1));
    } else if (chunks == Chunks::cut && number == cut_step) {
      feed(bytes.substr(0, cut_at));
      feed(bytes.substr(cut_at));
    } else {
      feed(bytes);
    }
  }
}

std::string_view Player::short_name(SessionState state) {
  static const std::map<SessionState, std::string_view> names{
      {SessionState::starting, "starting"},
      {SessionState::idle, "idle"},
      {SessionState::idle_in_transaction, "in_transaction"},
      {SessionState::aborted, "aborted"},
      {SessionState::busy, "busy"},
      {SessionState::fastpath, "fastpath"},
      {SessionState::pipeline_flushed, "flushed"},
      {SessionState::pipeline_open, "open"},
      {SessionState::pipeline_failed, "failed"},
      {SessionState::copy_in, "copy_in"},
      {SessionState::copy_out, "copy_out"},
      {SessionState::copy_both, "copy_both"},
      {SessionState::closing, "closing"},
  };
  return names.at(state);
}

void expect_same_in_all_chunkings(std::string_view script) {
  const auto steps = read(script);
  Player whole;
  whole.play(steps);
  const auto expect_same = [&](const Player& other, const std::string& how) {
    EXPECT_EQ(other.seen, whole.seen) << how;
    EXPECT_EQ(other.facts(), whole.facts()) << how;
    EXPECT_EQ(other.report.events, whole.report.events) << how;
    EXPECT_EQ(other.tracker.last_statement().text(), whole.tracker.last_statement().text()) << how;
    EXPECT_EQ(other.tracker.first_of_transaction().text(),
              whole.tracker.first_of_transaction().text())
        << how;
    EXPECT_TRUE(other.tracker.at_boundary(Direction::to_backend)) << how;
    EXPECT_TRUE(other.tracker.at_boundary(Direction::to_frontend)) << how;
  };
  Player bytewise;
  bytewise.play(steps, Chunks::bytewise);
  expect_same(bytewise, "byte by byte");
  for (std::size_t number = 0; number < steps.size(); ++number) {
    for (std::size_t at = 1; at < steps[number].bytes.size(); ++at) {
      Player cut;
      cut.play(steps, Chunks::cut, number, at);
      expect_same(cut, "step " + std::to_string(number) + " cut at " + std::to_string(at));
      if (::testing::Test::HasFailure()) return;
    }
  }
}

}  // namespace pgleash::protocol::trace
