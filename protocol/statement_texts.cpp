#include "protocol/statement_texts.hpp"

#include "protocol/text_hash.hpp"

#include <array>
#include <cstring>
#include <new>
#include <random>
#include <utility>
#include <vector>

namespace pgleash::protocol {

struct StatementTexts::Table {
  Table(std::size_t limit, std::string looked_for)
      : max_bytes(limit), marker(std::move(looked_for)), buckets(64) {
    std::random_device random;
    seed = std::uint64_t{random()} << 32U | random();
  }

  [[nodiscard]] std::uint64_t hash(std::string_view text, bool truncated) const noexcept {
    return hash_text(text, truncated ? ~seed : seed);
  }
  /// What a text costs: its block and its share of the buckets.
  static std::size_t cost(std::size_t size) noexcept {
    return sizeof(Entry) + size + sizeof(Entry*);
  }
  [[nodiscard]] Entry*& bucket(std::uint64_t hash) noexcept {
    return buckets[hash & (buckets.size() - 1)];
  }

  [[nodiscard]] Entry* find(std::string_view text, bool truncated, std::uint64_t hash) noexcept;
  [[nodiscard]] Entry* add(std::string_view text, bool truncated, std::uint64_t hash);
  bool make_room(std::size_t needed) noexcept;
  void remove(Entry* entry) noexcept;
  void grow();
  void park(Entry* entry) noexcept;  // its last reference went
  void unpark(Entry* entry) noexcept;
  [[nodiscard]] Entry* new_kept(std::size_t size);
  void free_kept(Entry* entry) noexcept;

  std::size_t max_bytes;
  std::string marker;
  std::size_t bytes = 0;
  std::size_t texts = 0;
  std::uint64_t seed = 0;
  Entry* oldest = nullptr;  // least recently used of those without a reference
  Entry* newest = nullptr;
  std::vector<Entry*> buckets;

  /// Blocks for kept texts come in four sizes; some of those that were given back are held ready.
  struct Spares {
    Entry* first = nullptr;
    unsigned count = 0;
  };
  static constexpr std::size_t smallest_room = max_text / 8;
  static constexpr unsigned max_spares = 64;
  static std::size_t size_class(std::size_t size) noexcept {
    std::size_t result = 0;
    while ((smallest_room << result) < size) ++result;
    return result;
  }
  std::array<Spares, 4> spares;
};

StatementTexts::Entry* StatementTexts::Table::new_kept(std::size_t size) {
  const std::size_t which = size_class(size);
  Spares& ready = spares[which];
  if (ready.first != nullptr) {
    --ready.count;
    return std::exchange(ready.first, ready.first->next_in_bucket);
  }
  const std::size_t room = smallest_room << which;
  return new (::operator new(sizeof(Entry) + room)) Entry{
      .table = this,
      .next_in_bucket = nullptr,
      .older = nullptr,
      .newer = nullptr,
      .hash = 0,
      .references = 0,
      .size = 0,
      .traits = {},
      .truncated = false,
      .kept_room = static_cast<std::uint16_t>(room),
  };
}

void StatementTexts::Table::free_kept(Entry* entry) noexcept {
  Spares& ready = spares[size_class(entry->kept_room)];
  if (ready.count == max_spares) {
    ::operator delete(entry);
    return;
  }
  ++ready.count;
  entry->next_in_bucket = std::exchange(ready.first, entry);
}

StatementTexts::Entry* StatementTexts::Table::find(std::string_view text, bool truncated,
                                                   std::uint64_t hash) noexcept {
  for (Entry* entry = bucket(hash); entry != nullptr; entry = entry->next_in_bucket) {
    if (entry->hash == hash && entry->truncated == truncated && entry->text() == text) return entry;
  }
  return nullptr;
}

StatementTexts::Entry* StatementTexts::Table::add(std::string_view text, bool truncated,
                                                  std::uint64_t hash) {
  if (!make_room(cost(text.size()))) return nullptr;
  if (texts >= buckets.size()) grow();
  Entry*& head = bucket(hash);
  auto* entry = new (::operator new(sizeof(Entry) + text.size())) Entry{
      .table = this,
      .next_in_bucket = head,
      .older = nullptr,
      .newer = nullptr,
      .hash = hash,
      .references = 0,
      .size = static_cast<std::uint16_t>(text.size()),
      .traits = read_traits(text, truncated, marker),
      .truncated = truncated,
      .kept_room = 0,
  };
  if (!text.empty()) std::memcpy(entry->bytes(), text.data(), text.size());
  head = entry;
  bytes += cost(text.size());
  ++texts;
  return entry;
}

bool StatementTexts::Table::make_room(std::size_t needed) noexcept {
  if (needed > max_bytes) return false;
  while (bytes + needed > max_bytes && oldest != nullptr) {
    Entry* const victim = oldest;
    unpark(victim);
    remove(victim);
  }
  return bytes + needed <= max_bytes;
}

void StatementTexts::Table::remove(Entry* entry) noexcept {
  Entry** link = &bucket(entry->hash);
  while (*link != entry) link = &(*link)->next_in_bucket;
  *link = entry->next_in_bucket;
  bytes -= cost(entry->size);
  --texts;
  ::operator delete(entry);
}

void StatementTexts::Table::grow() {
  std::vector<Entry*> old(buckets.size() * 2);
  old.swap(buckets);
  for (Entry* entry : old) {
    while (entry != nullptr) {
      Entry* const next = entry->next_in_bucket;
      entry->next_in_bucket = bucket(entry->hash);
      bucket(entry->hash) = entry;
      entry = next;
    }
  }
}

void StatementTexts::Table::park(Entry* entry) noexcept {
  entry->older = newest;
  entry->newer = nullptr;
  (newest != nullptr ? newest->newer : oldest) = entry;
  newest = entry;
}

void StatementTexts::Table::unpark(Entry* entry) noexcept {
  (entry->older != nullptr ? entry->older->newer : oldest) = entry->newer;
  (entry->newer != nullptr ? entry->newer->older : newest) = entry->older;
}

StatementTexts::StatementTexts(std::size_t max_bytes, std::string marker)
    : table_(std::make_unique<Table>(max_bytes, std::move(marker))) {}

StatementTexts::~StatementTexts() {
  for (const Table::Spares& ready : table_->spares) {
    for (Entry* entry = ready.first; entry != nullptr;)
      ::operator delete(std::exchange(entry, entry->next_in_bucket));
  }
  for (Entry* entry : table_->buckets) {
    while (entry != nullptr) {
      Entry* const next = entry->next_in_bucket;
      ::operator delete(entry);
      entry = next;
    }
  }
}

StatementTexts::Ref StatementTexts::intern(std::string_view text, bool truncated) {
  if (text.size() > max_text) {
    text = text.substr(0, max_text);
    truncated = true;
  }
  const std::uint64_t hash = table_->hash(text, truncated);
  Entry* entry = table_->find(text, truncated, hash);
  if (entry == nullptr) {
    entry = table_->add(text, truncated, hash);
  } else if (entry->references == 0) {
    table_->unpark(entry);
  }
  return Ref{entry};
}

void StatementTexts::keep(Ref& slot, std::string_view text, bool truncated) {
  if (text.size() > max_text) {
    text = text.substr(0, max_text);
    truncated = true;
  }
  Entry* entry = slot.entry_;
  const bool reusable = entry != nullptr && entry->references == 1 && entry->kept_room != 0 &&
                        entry->kept_room >= text.size();
  if (!reusable) {
    entry = table_->new_kept(text.size());
    slot = Ref{entry};
  }
  entry->size = static_cast<std::uint16_t>(text.size());
  entry->traits = read_traits(text, truncated, table_->marker);
  entry->truncated = truncated;
  if (!text.empty()) std::memcpy(entry->bytes(), text.data(), text.size());
}

std::size_t StatementTexts::bytes() const noexcept {
  return table_->bytes;
}
std::size_t StatementTexts::texts() const noexcept {
  return table_->texts;
}

void StatementTexts::park(Entry* entry) noexcept {
  if (entry->kept_room != 0) {
    entry->table->free_kept(entry);
  } else {
    entry->table->park(entry);
  }
}

}  // namespace pgleash::protocol
