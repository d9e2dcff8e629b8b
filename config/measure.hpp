#pragma once

#include "config/config.hpp"
#include "config/fault.hpp"

#include <cstdint>
#include <string>
#include <string_view>

/// How the `value` of a rule is written: each kind of resource has its own unit.
namespace pgleash::config {

enum class MeasureUnit : std::uint8_t {
  none,      ///< the kind has no value
  bytes,     ///< "20GiB"; counted in bytes
  count,     ///< 1000000; rows, transactions, locks, workers
  cpu_time,  ///< "2h"; counted in milliseconds
  share,     ///< "150%"; counted in percent of one CPU
  rate,      ///< "100MiB/s"; counted in bytes a second
};

[[nodiscard]] constexpr MeasureUnit measure_unit(RuleKind kind) noexcept {
  switch (kind) {
    case RuleKind::sent_bytes:
    case RuleKind::temp_bytes:
    case RuleKind::memory:
    case RuleKind::wal:
      return MeasureUnit::bytes;
    case RuleKind::rows:
    case RuleKind::xmin_age:
    case RuleKind::locks:
    case RuleKind::parallel_workers:
      return MeasureUnit::count;
    case RuleKind::cpu_time:
      return MeasureUnit::cpu_time;
    case RuleKind::cpu_share:
      return MeasureUnit::share;
    case RuleKind::read_rate:
    case RuleKind::write_rate:
      return MeasureUnit::rate;
    default:
      return MeasureUnit::none;
  }
}

/// A rule of such a kind judges what a running statement costs, against its `value`.
[[nodiscard]] constexpr bool is_cost(RuleKind kind) noexcept {
  return measure_unit(kind) != MeasureUnit::none;
}

/// Reads "20GiB", "2h", "150%" or "100MiB/s", as the unit wants it; a count is no text. Sizes have
/// B, KiB, MiB, GiB or TiB behind a whole number; nothing is zero.
[[nodiscard]] Parsed<std::uint64_t> parse_measure(MeasureUnit unit, std::string_view text);
/// What to write for that unit, for hints: "\"20GiB\"".
[[nodiscard]] std::string_view measure_example(MeasureUnit unit) noexcept;
/// As it stands in the file, without quotes: the largest unit that divides it.
[[nodiscard]] std::string format_measure(MeasureUnit unit, std::uint64_t value);
/// For people, rounded to three digits: "61.3 MiB", "150 %", "12.5 MiB/s", "2h"; a count as it is.
[[nodiscard]] std::string show_measure(MeasureUnit unit, std::uint64_t value);

}  // namespace pgleash::config
