#pragma once

#include "protocol/types.hpp"
#include "watchdog/activity.hpp"

#include <cstdint>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>

/// What pgleash's own connections call themselves, and which of those that a server shows are
/// whose.
namespace pgleash::watchdog {

/// What tells the connections of one watchdog from those of all others, in their application_name.
/// Each watchdog has one of its own: two [[server]] sections may lead to one server, and neither
/// watchdog knows the sessions of the other. It is no secret, and proves nothing but in company:
/// see OwnConnections.
class InstanceMark {
 public:
  explicit InstanceMark(std::uint32_t number);
  /// From the system's secure source. Throws std::system_error where there is none.
  static InstanceMark random();

  /// "pgleash 3f9a01bc"
  [[nodiscard]] const std::string& application_name() const noexcept { return name_; }

 private:
  std::string name_;
};

/// What the subcommands call themselves. They look, and stand before nobody's sessions.
inline constexpr std::string_view watch_name = "pgleash watch";
inline constexpr std::string_view record_name = "pgleash record";
inline constexpr std::string_view check_name = "pgleash check";
[[nodiscard]] bool is_name_of_a_subcommand(std::string_view application_name) noexcept;

/// Which rows of pg_stat_activity are connections of this watchdog.
///
/// Of those that stand it knows the pid. One that opened or closed while the server made its answer
/// is known by its name alone, and that anybody can take, so little follows from it: it is shown as
/// any other, and is only not taken for another pgleash's (OtherInstances). Even that is believed
/// only at an address where connections known by their pid come from, so that no stranger's word,
/// nor a copy of this machine with the mark in its memory, makes another pgleash unseen.
class OwnConnections {
 public:
  explicit OwnConnections(std::string application_name) : name_(std::move(application_name)) {}

  [[nodiscard]] const std::string& application_name() const noexcept { return name_; }
  /// Whether the row is one of `pids`, in our name: a pid may be used again. Remembers its address.
  bool knows(const ActivityRow& row, std::span<const protocol::BackendPid> pids);
  /// Whether it bears our name, where our connections come from.
  [[nodiscard]] bool bears_our_name(const ActivityRow& row) const;

 private:
  std::string name_;
  std::set<std::string, std::less<>> addresses_;
};

}  // namespace pgleash::watchdog
