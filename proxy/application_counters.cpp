#include "proxy/application_counters.hpp"

namespace pgleash::proxy {

ApplicationCounts& ApplicationCounters::of(std::string_view name) {
  if (const auto known = by_name_.find(name); known != by_name_.end()) return *known->second;
  if (by_name_.size() + 1 < places_.size()) return add(name);
  const auto shared = by_name_.find(other);
  return shared != by_name_.end() ? *shared->second : add(other);
}

ApplicationCounts& ApplicationCounters::add(std::string_view name) {
  const std::size_t place = size_.load(std::memory_order_relaxed);
  places_[place] = std::make_unique<ApplicationCounts>();
  ApplicationCounts& fresh = *places_[place];
  fresh.name = name;
  by_name_.emplace(fresh.name, &fresh);
  // Readers see the place only with what is in it.
  size_.store(place + 1, std::memory_order_release);
  return fresh;
}

}  // namespace pgleash::proxy
