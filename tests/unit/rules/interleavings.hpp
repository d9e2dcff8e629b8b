#pragma once

#include <cstddef>
#include <vector>

namespace pgleash::test {

/// Tries every sequence of choices: a run asks choose() whenever more than one thing may come next,
/// and next() says whether there is another sequence to try. Runs begin from nothing each time, so
/// that nothing needs to be copied. Beyond `depth` choices the first alternative is taken: a run
/// comes to its end whatever it has begun.
class Interleavings {
 public:
  explicit Interleavings(std::size_t depth) : depth_(depth) {}

  [[nodiscard]] std::size_t choose(std::size_t alternatives) {
    if (alternatives <= 1 || at_ >= depth_) return 0;
    if (at_ == trail_.size()) trail_.push_back({0, alternatives});
    return trail_[at_++].taken;
  }
  /// Whether the next choice is still one that is explored.
  [[nodiscard]] bool explores() const noexcept { return at_ < depth_; }
  [[nodiscard]] bool next() {
    at_ = 0;
    ++runs_;
    while (!trail_.empty() && ++trail_.back().taken == trail_.back().alternatives)
      trail_.pop_back();
    return !trail_.empty();
  }
  [[nodiscard]] std::size_t runs() const noexcept { return runs_; }

 private:
  struct Choice {
    std::size_t taken, alternatives;
  };
  std::vector<Choice> trail_;
  std::size_t depth_;
  std::size_t at_ = 0;
  std::size_t runs_ = 0;
};

}  // namespace pgleash::test
