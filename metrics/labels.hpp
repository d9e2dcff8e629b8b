#pragma once

#include "protocol/types.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

/// Label values from names that others choose: made harmless, and bounded in number.
namespace pgleash::metrics {

inline constexpr std::string_view other = "other";
inline constexpr std::string_view none = "none";
inline constexpr std::size_t max_label_bytes = 128;

/// Valid UTF-8 without control characters, at most max_label_bytes, for any bytes. A name that is
/// cut ends in an ellipsis.
[[nodiscard]] std::string clean_label(std::string_view name);

/// Sessions by name, as they are now. The names are views into something that lives longer.
using Census = std::unordered_map<std::string_view, std::uint64_t>;

struct NameHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view name) const noexcept {
    return std::hash<std::string_view>{}(name);
  }
};

/// Which label each name of a census has. Several names may share one: `other`, `none` for the
/// empty name, and names that are the same once cleaned.
class Assignment {
 public:
  [[nodiscard]] std::size_t label_count() const noexcept { return labels_.size(); }
  [[nodiscard]] const std::string& label(std::size_t index) const { return labels_[index]; }
  /// Only for names of the census.
  [[nodiscard]] std::size_t index_of(std::string_view name) const { return index_of_.at(name); }
  [[nodiscard]] const std::string& label_of(std::string_view name) const {
    return labels_[index_of(name)];
  }

 private:
  friend class BoundedLabel;
  std::vector<std::string> labels_;
  std::unordered_map<std::string_view, std::size_t> index_of_;
};

/// Gives the `limit` names with the most sessions a label of their own, and calls the rest `other`.
/// Sticky: a name keeps its label until it has not been among the first `limit` for `sticky`, so
/// that a name at the border does not flap, and one burst does not drive out everybody.
class BoundedLabel {
 public:
  explicit BoundedLabel(std::size_t limit, Duration sticky = std::chrono::hours{1});

  /// For a reload: takes effect with the next assignment.
  void set_limit(std::size_t limit) noexcept { limit_ = limit; }
  Assignment assign(const Census& census, Instant now);
  /// Names that had to be called `other`, each once for as long as it stays in the census.
  [[nodiscard]] std::uint64_t overflows() const noexcept { return overflows_; }

 private:
  struct Standing {
    std::string_view name;  ///< cleaned
    std::uint64_t sessions = 0;
    bool member = false;
  };
  void retire(Instant now);
  void admit(std::vector<Standing>& standings, Instant now);
  void count_overflow(const std::vector<Standing>& standings);

  std::size_t limit_;
  Duration sticky_;
  std::unordered_map<std::string, Instant, NameHash, std::equal_to<>>
      members_;                           ///< when last among the first `limit`
  std::vector<std::size_t> overflowing_;  ///< hashes of the names, sorted
  std::uint64_t overflows_ = 0;
};

/// The same bound for counters, which must not move between labels: the first `limit` names keep a
/// label for good. The writer of the counter bounds them too; this one guards the output.
class FirstComeLabel {
 public:
  explicit FirstComeLabel(std::size_t limit) : limit_(limit) {}
  [[nodiscard]] std::string label(std::string_view name);

 private:
  std::size_t limit_;
  std::unordered_set<std::string, NameHash, std::equal_to<>> members_;
};

}  // namespace pgleash::metrics
