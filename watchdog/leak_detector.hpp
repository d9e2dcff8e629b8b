#pragma once

#include "config/config.hpp"
#include "watchdog/gap_history.hpp"
#include "watchdog/leak_input.hpp"
#include "watchdog/leak_judgement.hpp"
#include "watchdog/leak_scale.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

namespace pgleash::watchdog {

/// A leak that stands, as it was last judged.
struct Leak {
  LeakGroup group;
  Instant since{};  ///< when the first of its suspects was lost, or the window began
  Instant detected{};
  Duration window{};           ///< of the scale that saw it
  std::uint32_t sessions = 0;  ///< that the group has now
  std::uint32_t floor = 0;     ///< at least, within the last full bucket
  double growth = 0;           ///< sessions
  Slope slope;                 ///< sessions per second
  std::uint32_t suspect_count = 0;
};

struct LeakChange {
  enum class What : std::uint8_t { detected, cleared } what;
  Leak leak;
};

/// Finds applications that open sessions and never use them again. Told of each session's
/// beginning, uses and end, and of the time; asks no clock. Pure but for its memory. One per
/// server; one thread.
///
/// A change costs O(1), a tick O(groups and addresses whose bucket ended). Memory: some 60 bytes a
/// session, 250 a client address, 200 a group; at most `max_groups` groups, what comes later shares
/// one called "other". An address is forgotten with its last session, a group a window later.
class LeakDetector {
 public:
  static constexpr std::size_t max_groups = 10'000;
  /// What `opened` gives, for the calls that follow: good until `closed`.
  enum class Handle : std::uint32_t {};

  explicit LeakDetector(const config::Leak& leak);

  [[nodiscard]] Handle opened(const LeakSession& session, Instant now);
  /// `when` never runs backwards for one session.
  void used(Handle session, Instant when);
  void closed(Handle session, Instant now);
  /// After the changes of a moment: judges what is due. What it returns are changes only.
  [[nodiscard]] std::vector<LeakChange> tick(Instant now, const SlotUse& slots);

  /// Leaks that stand.
  [[nodiscard]] const std::vector<Leak>& leaks() const noexcept { return leaks_; }
  /// The sessions that make up a leak's growth, the longest unused first.
  [[nodiscard]] std::vector<std::uint64_t> suspects(const Leak& leak, Instant now) const;
  /// How long a session must have been unused to be a suspect of this leak.
  [[nodiscard]] Duration unseen(const Leak& leak) const;
  /// When each of a leak's suspects was last used, ascending: when it was lost.
  [[nodiscard]] std::vector<Instant> lost_at(const Leak& leak, Instant now) const;
  /// The floor of each group: sessions it had at least within the last full bucket of the shortest
  /// window, summed over its addresses.
  struct GroupFloor {
    const LeakGroup* group;
    std::uint32_t floor;
    double slope;  ///< sessions per second, over the shortest configured window
  };
  [[nodiscard]] std::vector<GroupFloor> floors() const;
  [[nodiscard]] std::size_t groups() const noexcept { return group_index_.size(); }

 private:
  static constexpr std::uint32_t none = 0xFFFFFFFF;

  struct Session {
    std::uint64_t id = 0;
    Instant last_used{};
    std::uint32_t address = none;
    std::uint32_t older = none;  ///< in the order of last use, within the address
    std::uint32_t newer = none;
  };
  struct Address {
    std::string name;
    std::uint32_t group = none;
    std::uint32_t count = 0;
    std::uint32_t oldest = none;
    std::uint32_t newest = none;
    FloorSeries floors{0};
  };
  struct Group {
    LeakGroup key;
    std::vector<std::uint32_t> addresses;
    std::uint32_t count = 0;
    bool live = false;
    std::optional<std::size_t> leak;  ///< index in leaks_
    std::uint32_t most_suspects = 0;
    std::array<GapHistory, max_leak_scales> gaps;  ///< each remembers its scale's window
    PeakSeries peaks;
    Instant since{};    ///< when it was first seen
    Instant emptied{};  ///< when its last session ended
  };

  std::uint32_t group_of(const LeakSession& session, Instant now);
  std::uint32_t address_of(std::uint32_t group, std::string_view name);
  void link_newest(std::uint32_t index);
  void unlink(std::uint32_t index);
  void forget_address(std::uint32_t index);
  void roll(std::size_t scale, std::size_t buckets);
  void judge(std::uint32_t group, std::size_t scale, Instant now, const SlotUse& slots,
             std::vector<LeakChange>& changes);
  void review(std::uint32_t group, Instant now, std::vector<LeakChange>& changes);
  [[nodiscard]] std::size_t scale_of(const Leak& leak) const;
  [[nodiscard]] bool has_unused(const Group& group, Instant before) const;
  [[nodiscard]] std::vector<std::uint32_t> suspect_sessions(const Group& group, const Leak& leak,
                                                            Instant now) const;
  [[nodiscard]] std::uint32_t floor_of(const Group& group, std::size_t scale) const;
  [[nodiscard]] Slope slope_of(const Group& group, std::size_t scale) const;
  void note_gap(const Session& session, Instant ended);
  [[nodiscard]] Duration shortest_gap() const { return scales_.front().unused; }
  void drop_empty_groups(Instant now, Duration emptied_for);

  config::Leak config_;
  std::vector<LeakScale> scales_;
  std::vector<Instant> bucket_ends_;  ///< of each scale
  std::vector<Session> sessions_;
  std::vector<std::uint32_t> free_sessions_;
  std::vector<Address> addresses_;
  std::vector<std::uint32_t> free_addresses_;
  std::vector<Group> groups_;
  std::vector<std::uint32_t> free_groups_;
  std::map<LeakGroup, std::uint32_t> group_index_;
  std::vector<Leak> leaks_;
  bool swept_ = false;  ///< in this tick, empty groups were dropped for want of room
};

}  // namespace pgleash::watchdog
