#include "metrics/labels.hpp"

#include <algorithm>
#include <deque>
#include <utility>

namespace pgleash::metrics {
namespace {

constexpr std::string_view replacement = "\xEF\xBF\xBD";  // U+FFFD
constexpr std::string_view ellipsis = "\xE2\x80\xA6";

/// Most names are: nothing to do for them.
bool is_clean(std::string_view name) noexcept {
  return name.size() <= max_label_bytes &&
         std::all_of(name.begin(), name.end(), [](char c) { return c >= 0x20 && c < 0x7F; });
}

bool continues(std::string_view text, std::size_t at) noexcept {
  return at < text.size() && (static_cast<unsigned char>(text[at]) & 0xC0U) == 0x80U;
}

/// Length of the well-formed sequence at `at`, 0 when there is none. Source: Unicode, table 3-7.
std::size_t sequence_length(std::string_view text, std::size_t at) noexcept {
  const auto lead = static_cast<unsigned char>(text[at]);
  const auto second = at + 1 < text.size() ? static_cast<unsigned char>(text[at + 1])
                                           : static_cast<unsigned char>(0);
  if (lead < 0x80) {
    return 1;
  }
  if (lead >= 0xC2 && lead <= 0xDF) {
    return continues(text, at + 1) ? 2 : 0;
  }
  if (lead >= 0xE0 && lead <= 0xEF) {
    const bool overlong = lead == 0xE0 && second < 0xA0;
    const bool surrogate = lead == 0xED && second > 0x9F;
    return continues(text, at + 1) && continues(text, at + 2) && !overlong && !surrogate ? 3 : 0;
  }
  if (lead >= 0xF0 && lead <= 0xF4) {
    const bool overlong = lead == 0xF0 && second < 0x90;
    const bool beyond = lead == 0xF4 && second > 0x8F;
    return continues(text, at + 1) && continues(text, at + 2) && continues(text, at + 3) &&
                   !overlong && !beyond
               ? 4
               : 0;
  }
  return 0;
}

}  // namespace

std::string clean_label(std::string_view name) {
  if (is_clean(name)) {
    return std::string{name};
  }
  std::string clean;
  std::size_t fits = 0;  // bytes that leave room for the ellipsis
  for (std::size_t at = 0; at < name.size();) {
    const std::size_t length = sequence_length(name, at);
    std::string_view piece = length == 0 ? replacement : name.substr(at, length);
    if (length == 1 && (name[at] < 0x20 || name[at] == 0x7F)) {
      piece = "?";
    }
    if (clean.size() + piece.size() > max_label_bytes) {
      clean.resize(fits);
      return clean.append(ellipsis);
    }
    clean.append(piece);
    if (clean.size() + ellipsis.size() <= max_label_bytes) {
      fits = clean.size();
    }
    at += std::max<std::size_t>(length, 1);
  }
  return clean;
}

BoundedLabel::BoundedLabel(std::size_t limit, Duration sticky) : limit_(limit), sticky_(sticky) {}

Assignment BoundedLabel::assign(const Census& census, Instant now) {
  // Different names may be the same once cleaned, and must then be one: twice the same series would
  // make the whole output unreadable for Prometheus.
  std::deque<std::string> kept;  // of the names that are not clean already
  std::unordered_map<std::string_view, std::uint64_t> merged;
  std::vector<std::pair<std::string_view, std::string_view>> cleaned;  // raw, its cleaned form
  merged.reserve(census.size());
  cleaned.reserve(census.size());
  for (const auto& [raw, sessions] : census) {
    if (raw.empty()) {
      cleaned.emplace_back(raw, none);
      continue;
    }
    const std::string_view name = is_clean(raw) ? raw : kept.emplace_back(clean_label(raw));
    merged[name] += sessions;
    cleaned.emplace_back(raw, name);
  }

  std::vector<Standing> standings;
  standings.reserve(merged.size());
  for (const auto& [name, sessions] : merged) {
    standings.push_back({name, sessions, members_.contains(name)});
  }
  retire(now);
  admit(standings, now);
  count_overflow(standings);

  Assignment result;
  result.index_of_.reserve(cleaned.size());
  std::unordered_map<std::string_view, std::size_t> index_of_label;
  for (const auto& [raw, name] : cleaned) {
    const bool own = raw.empty() || members_.contains(name);
    const std::string_view label = own ? name : other;
    const auto [at, fresh] = index_of_label.try_emplace(label, result.labels_.size());
    if (fresh) {
      result.labels_.emplace_back(label);
    }
    result.index_of_.emplace(raw, at->second);
  }
  return result;
}

/// Drops members whose hour is over, and after a lower limit those that earned theirs longest ago.
void BoundedLabel::retire(Instant now) {
  std::erase_if(members_, [&](const auto& member) { return now - member.second > sticky_; });
  while (members_.size() > limit_) {
    members_.erase(
        std::min_element(members_.begin(), members_.end(),
                         [](const auto& a, const auto& b) { return a.second < b.second; }));
  }
}

void BoundedLabel::admit(std::vector<Standing>& standings, Instant now) {
  const auto first = [](const Standing& a, const Standing& b) {
    if (a.sessions != b.sessions) {
      return a.sessions > b.sessions;
    }
    return a.member != b.member ? a.member : a.name < b.name;
  };
  const auto top =
      standings.begin() + static_cast<std::ptrdiff_t>(std::min(limit_, standings.size()));
  std::partial_sort(standings.begin(), top, standings.end(), first);
  for (auto standing = standings.begin(); standing != top; ++standing) {
    const auto member = members_.find(standing->name);
    if (member != members_.end()) {
      member->second = now;
    } else if (members_.size() < limit_) {
      members_.emplace(standing->name, now);
    }
  }
}

void BoundedLabel::count_overflow(const std::vector<Standing>& standings) {
  std::vector<std::size_t> hashes;
  for (const Standing& standing : standings) {
    if (!members_.contains(standing.name)) {
      hashes.push_back(NameHash{}(standing.name));
    }
  }
  std::sort(hashes.begin(), hashes.end());
  for (const std::size_t hash : hashes) {
    overflows_ += std::binary_search(overflowing_.begin(), overflowing_.end(), hash) ? 0 : 1;
  }
  overflowing_ = std::move(hashes);
}

std::string FirstComeLabel::label(std::string_view name) {
  if (name.empty()) {
    return std::string{none};
  }
  std::string clean = clean_label(name);
  if (members_.contains(clean) || clean == other || clean == none) {
    return clean;
  }
  if (members_.size() >= limit_) {
    return std::string{other};
  }
  members_.insert(clean);
  return clean;
}

}  // namespace pgleash::metrics
