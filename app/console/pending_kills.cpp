#include "app/console/pending_kills.hpp"

#include <algorithm>
#include <random>
#include <utility>

namespace pgleash::console {

void PendingKills::add(Batch batch, Instant now) {
  std::erase_if(batches_, [now](const Batch& one) { return one.until <= now; });
  if (batches_.size() >= most) batches_.pop_front();
  batches_.push_back(std::move(batch));
}

std::optional<PendingKills::Batch> PendingKills::take(std::string_view token, std::string_view user,
                                                      std::string_view server, Instant now) {
  const auto found = std::find_if(batches_.begin(), batches_.end(), [&](const Batch& one) {
    return one.token == token && one.user == user && one.server == server && now < one.until;
  });
  if (found == batches_.end()) return std::nullopt;
  Batch batch = std::move(*found);
  batches_.erase(found);
  return batch;
}

std::string fresh_token() {
  constexpr std::string_view digits = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
  std::random_device random;
  std::string token;
  for (int i = 0; i < 16; ++i) token += digits[random() % digits.size()];
  return token;
}

}  // namespace pgleash::console
