#include "app/replay/progress_bar.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>

namespace pgleash::app {
namespace {

constexpr std::chrono::milliseconds worth_a_bar{500};
constexpr std::chrono::milliseconds between_two{100};
constexpr std::size_t width = 40;

}  // namespace

ProgressBar::ProgressBar(std::uint64_t total, bool terminal, Time begun)
    : total_(total), terminal_(terminal), next_(begun + worth_a_bar) {}

std::string ProgressBar::at(std::uint64_t done, Time now) {
  if (!terminal_ || total_ == 0 || now < next_) return {};
  next_ = now + between_two;
  drawn_ = true;
  done = std::min(done, total_);  // a file may have grown since it was measured
  const auto full = static_cast<std::size_t>(done * width / total_);
  return fmt::format("\r[{}{}] {} %", std::string(full, '#'), std::string(width - full, ' '),
                     done * 100 / total_);
}

std::string ProgressBar::removed() const {
  return drawn_ ? "\r\x1b[K" : "";
}

}  // namespace pgleash::app
