#pragma once

#include "config/config.hpp"
#include "proxy/counters.hpp"
#include "proxy/session_view.hpp"

#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

namespace pgleash::proxy {

/// Why nobody else may come in under a quota, in the client's words.
struct QuotaRefusal {
  std::string quota;
  std::string sqlstate;
  std::string message;  ///< names the quota, whom it is about, and the limit
  std::string detail;
  std::string hint;
};

/// Counts sessions by application, user, database and client address, and how fast new ones come,
/// for [[quota]]. By application it is cooperation, as clients name themselves.
///
/// Any thread: asked when a session begins and when it ends, and never between. A mutex, since the
/// counts are of all workers; it is held for some hash lookups. Without a quota nothing is counted
/// and nothing locked. What is counted is bounded by the sessions that live, and by the keys of the
/// last second.
class QuotaKeeper {
  struct Counted;

 public:
  /// A place that is taken while this lives; it must not outlive its keeper.
  class Ticket {
   public:
    Ticket() = default;
    Ticket(Ticket&& other) noexcept : place_(std::move(other.place_)) {}
    Ticket& operator=(Ticket&& other) noexcept;
    ~Ticket() { give_back(); }
    void give_back() noexcept;
    [[nodiscard]] bool taken() const noexcept { return place_ != nullptr; }

   private:
    friend class QuotaKeeper;
    struct Place;
    struct Free {
      void operator()(Place* place) const noexcept;
    };
    std::unique_ptr<Place, Free> place_;
  };

  explicit QuotaKeeper(std::vector<config::Quota> quotas)
      : quotas_(std::move(quotas)), active_(!quotas_.empty()) {}

  /// Another generation of limits; what was counted stays. True when nobody was counted before and
  /// the sessions that are there must be: see count().
  bool configure(std::vector<config::Quota> quotas);
  [[nodiscard]] bool active() const noexcept { return active_.load(std::memory_order_relaxed); }

  /// A place for a session that wants in, or the first quota that has none. `ticket` is empty
  /// without quotas.
  [[nodiscard]] std::optional<QuotaRefusal> admit(const SessionIdentity& who, Instant now,
                                                  Ticket& ticket);
  /// Counts a session that is in already, whatever the limits.
  [[nodiscard]] Ticket count(const SessionIdentity& who);

  /// By name of the quota.
  [[nodiscard]] std::map<std::string, QuotaUse> use() const;
  /// That count for one application, user, database or address now; empty without quotas.
  [[nodiscard]] std::optional<std::uint32_t> sessions_of(config::QuotaKey key,
                                                         const std::string& name) const;
  /// How many keys are remembered, of all kinds.
  [[nodiscard]] std::size_t keys() const;

 private:
  static constexpr std::size_t kinds = 4;
  using Names = std::array<std::string, kinds>;
  /// Sessions of one key, and the new ones that it may have at once: a bucket that fills with
  /// new_per_second a second, one for each quota that limits that.
  struct Counted {
    std::uint32_t sessions = 0;
    std::unordered_map<std::string, std::pair<double, Instant>> buckets;  ///< by quota
  };
  using Counts = std::unordered_map<std::string, Counted>;

  [[nodiscard]] static Names names_of(const SessionIdentity& who);
  [[nodiscard]] Ticket take(const Names& names, bool by_address_alone);
  void leave(const std::array<Counts::value_type*, kinds>& keys) noexcept;
  void forget_idle(Instant now);

  mutable std::mutex mutex_;
  std::vector<config::Quota> quotas_;             ///< guarded by mutex_
  std::atomic<bool> active_;                      ///< there is a quota
  std::array<Counts, kinds> counts_;              ///< guarded by mutex_
  std::map<std::string, std::uint64_t> refused_;  ///< guarded by mutex_
  Instant swept_{};                               ///< guarded by mutex_
};

}  // namespace pgleash::proxy
