#include "proxy/fold_name.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <vector>

namespace pgleash::proxy {
namespace {

struct Token {
  std::size_t begin;
  std::size_t end;
  bool dropped = false;
};

bool is_digit(char c) noexcept {
  return c >= '0' && c <= '9';
}
bool is_letter(char c) noexcept {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || static_cast<unsigned char>(c) >= 0x80;
}
bool is_hex(char c) noexcept {
  return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

template <class Is>
bool all(std::string_view text, Is is) noexcept {
  return std::all_of(text.begin(), text.end(), is);
}
bool has_digit(std::string_view text) noexcept {
  return std::any_of(text.begin(), text.end(), is_digit);
}

/// What Kubernetes makes names of: no vowel and nothing that looks like one, so that no word comes
/// out.
bool is_pod_random(std::string_view text, std::size_t shortest, std::size_t longest) noexcept {
  constexpr std::string_view alphabet = "bcdfghjklmnpqrstvwxz2456789";
  const auto known = [&](char c) { return alphabet.find(c) != std::string_view::npos; };
  // The hash of a ReplicaSet may hold any digit.
  const auto hash = [&](char c) { return known(c) || is_digit(c); };
  return text.size() >= shortest && text.size() <= longest &&
         (shortest == longest ? all(text, known) : all(text, hash));
}

std::vector<Token> tokens_of(std::string_view name) {
  std::vector<Token> tokens;
  for (std::size_t at = 0; at < name.size();) {
    const auto word = [&](std::size_t i) { return is_letter(name[i]) || is_digit(name[i]); };
    if (!word(at)) {
      ++at;
      continue;
    }
    std::size_t end = at;
    while (end < name.size() && word(end)) ++end;
    tokens.push_back({at, end});
    at = end;
  }
  return tokens;
}

class Folding {
 public:
  explicit Folding(std::string_view name) : name_(name), tokens_(tokens_of(name)) {}

  std::string fold() {
    drop_uuids();
    drop_pod_suffix();
    for (Token& token : tokens_) {
      const std::string_view text = text_of(token);
      const bool letters = std::any_of(text.begin(), text.end(), is_letter);
      const bool id = text.size() >= 8 && letters && has_digit(text) && all(text, is_hex);
      token.dropped = token.dropped || !letters || id;
    }
    trim_number();
    return rest();
  }

 private:
  [[nodiscard]] std::string_view text_of(const Token& token) const {
    return name_.substr(token.begin, token.end - token.begin);
  }
  /// Whether only '-' stands between a token and the one before.
  [[nodiscard]] bool joined(std::size_t index) const {
    return index > 0 && tokens_[index].begin == tokens_[index - 1].end + 1 &&
           name_[tokens_[index].begin - 1] == '-';
  }

  void drop_uuids() {
    constexpr std::array<std::size_t, 5> lengths{8, 4, 4, 4, 12};
    for (std::size_t first = 0; first + lengths.size() <= tokens_.size(); ++first) {
      bool matches = true;
      for (std::size_t i = 0; i < lengths.size() && matches; ++i) {
        const std::string_view text = text_of(tokens_[first + i]);
        matches = text.size() == lengths[i] && all(text, is_hex) && (i == 0 || joined(first + i));
      }
      for (std::size_t i = 0; i < lengths.size() && matches; ++i) tokens_[first + i].dropped = true;
    }
  }

  /// -HASH-RANDOM of a Deployment's pod, or -RANDOM of a DaemonSet's or Job's.
  void drop_pod_suffix() {
    const std::size_t count = tokens_.size();
    if (count < 2 || tokens_.back().end != name_.size() || !joined(count - 1)) return;
    const std::string_view random = text_of(tokens_.back());
    if (!is_pod_random(random, 5, 5)) return;
    if (count >= 3 && joined(count - 2) && is_pod_random(text_of(tokens_[count - 2]), 6, 10) &&
        has_digit(std::string{text_of(tokens_[count - 2])} + std::string{random})) {
      tokens_[count - 2].dropped = true;
      tokens_.back().dropped = true;
    } else if (has_digit(random)) {
      tokens_.back().dropped = true;
    }
  }

  /// `worker12345`; but `oauth2` and `s3` are names.
  void trim_number() {
    for (Token& token : tokens_) {
      std::size_t end = token.end;
      while (end > token.begin && is_digit(name_[end - 1])) --end;
      if (end > token.begin && token.end - end >= 3) token.end = end;
    }
  }

  /// What is left, each token with what stood before it; a closing bracket stays with its token.
  [[nodiscard]] std::string rest() const {
    std::string out;
    std::size_t before = 0;
    for (const Token& token : tokens_) {
      if (!token.dropped) {
        std::string_view gap = name_.substr(before, token.begin - before);
        if (out.empty()) gap = gap.substr(std::min(gap.find_first_not_of(" -_.:,#@/"), gap.size()));
        out += gap;
        out += text_of(token);
      }
      before = token.end;
      while (before < name_.size() && is_digit(name_[before])) ++before;
    }
    if (!tokens_.empty() && !tokens_.back().dropped) out += name_.substr(before);
    while (!out.empty() && std::string_view{" -_.:,#@/[({"}.find(out.back()) != std::string::npos)
      out.pop_back();
    return out.empty() ? std::string{name_} : out;
  }

  std::string_view name_;
  std::vector<Token> tokens_;
};

}  // namespace

std::string fold_name(std::string_view name) {
  if (!has_digit(name)) return std::string{name};
  return Folding{name}.fold();
}

}  // namespace pgleash::proxy
