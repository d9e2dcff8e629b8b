#include "protocol/prepared_texts.hpp"

#include "protocol/text_hash.hpp"

#include <algorithm>
#include <utility>

namespace pgleash::protocol {
namespace {

// No secret seed: who makes two of its own names collide confuses the evidence of its own session
// only.
std::uint64_t hash_name(std::string_view name) noexcept {
  return hash_text(name, 0);
}

}  // namespace

void PreparedTexts::prepare(std::string_view name, Ref text) {
  if (name.empty()) {
    unnamed_ = std::move(text);
  } else if (Named* const known = find_named(name)) {
    known->text = std::move(text);
  } else {
    if (!named_) named_ = std::make_unique<std::vector<Named>>();
    if (named_->size() < max_named)
      named_->push_back({.name_hash = hash_name(name), .text = std::move(text)});
  }
}

void PreparedTexts::forget(std::string_view name) noexcept {
  if (name.empty()) {
    unnamed_ = {};
  } else if (Named* const known = find_named(name)) {
    if (known != &named_->back()) *known = std::move(named_->back());
    named_->pop_back();
    if (named_->empty()) named_.reset();
  }
}

const PreparedTexts::Ref& PreparedTexts::find(std::string_view name) const noexcept {
  static const Ref unknown;
  if (name.empty()) return unnamed_;
  const Named* const known = find_named(name);
  return known != nullptr ? known->text : unknown;
}

PreparedTexts::Named* PreparedTexts::find_named(std::string_view name) const noexcept {
  if (!named_) return nullptr;
  const auto found = std::ranges::find(*named_, hash_name(name), &Named::name_hash);
  return found != named_->end() ? &*found : nullptr;
}

}  // namespace pgleash::protocol
