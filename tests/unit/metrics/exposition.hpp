#pragma once

#include <map>
#include <string>
#include <string_view>

namespace pgleash::metrics::testing {

/// The series of a scrape, each as it is written, `name{label="value"}`, with its value.
using Series = std::map<std::string, double>;

/// Reads the text format 0.0.4, strictly. Anything that Prometheus would refuse, or that we should
/// never write (a series twice, a series without its TYPE, bytes that are not UTF-8), is a test
/// failure that quotes the line.
[[nodiscard]] Series parse_exposition(std::string_view text);

/// How many series begin with `prefix`.
[[nodiscard]] std::size_t count_series(const Series& series, std::string_view prefix);

/// What `promtool check metrics` has against the text: nothing when it takes it without a warning.
struct PromtoolVerdict {
  bool available = false;
  std::string complaints;
};
[[nodiscard]] PromtoolVerdict ask_promtool(const std::string& text);

}  // namespace pgleash::metrics::testing
