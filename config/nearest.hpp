#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

/// "Did you mean": the known word that a misspelt one was probably meant to be.
namespace pgleash::config {

/// Insertions, deletions, replacements and swaps of neighbours that turn one word into the other.
[[nodiscard]] std::size_t edit_distance(std::string_view from, std::string_view to);
/// The closest of `known`, when it is close enough to be a slip: a third of the letters at most.
[[nodiscard]] std::optional<std::string_view> nearest(std::string_view word,
                                                      std::span<const std::string_view> known);
/// "a, b or c".
[[nodiscard]] std::string listed(std::span<const std::string_view> words);

}  // namespace pgleash::config
