#pragma once

#include "tests/scenario/story/story.hpp"

#include <chrono>
#include <string>
#include <vector>

namespace pgleash::test {

/// [leak] with windows of seconds.
inline std::string leak_section(const std::string& action) {
  return fmt::format(
      "[leak]\nwindows = [\"6s\", \"20s\"]\nhorizon = \"1h\"\nidle_longer_than = \"1s\"\n"
      "action = \"{}\"\n",
      action);
}

/// An application that opens a session now and then, uses it once, and forgets it.
class Leaker {
 public:
  static constexpr auto every = 300ms;

  explicit Leaker(std::string name) : name_(std::move(name)) {}

  /// Another one when it is time for it, up to `most`.
  void live(const PgleashProcess& pgleash, std::size_t most) {
    const auto now = std::chrono::steady_clock::now();
    if (now < next_ || lost_.size() >= most) return;
    next_ = now + every;
    lost_.emplace_back(pgleash.words({{"application_name", name_}}));
    lost_.back().exec("SELECT 4711 /*controller='cart'*/");
  }
  void restart() { lost_.clear(); }

 private:
  std::string name_;
  std::vector<Application> lost_;
  std::chrono::steady_clock::time_point next_{};
};

}  // namespace pgleash::test
