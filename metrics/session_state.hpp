#pragma once

#include "protocol/types.hpp"
#include "watchdog/snapshot.hpp"

#include <cstddef>
#include <cstdint>

namespace pgleash::metrics {

/// The label `state`, in the order of words::session_states.
enum class StateLabel : std::uint8_t {
  starting,
  idle,
  idle_in_transaction,
  aborted,
  active,
  held,
  stalled,
  count_,
};
inline constexpr auto state_count = static_cast<std::size_t>(StateLabel::count_);

/// What a session is shown as. The in-band state decides. Where the bytes leave open whether the
/// server works or waits for its client (a pipeline without Sync, COPY IN), it is `held` when a
/// sample newer than the client's last byte saw the backend in ClientRead, else `active`.
[[nodiscard]] StateLabel state_label(const watchdog::Snapshot& snapshot,
                                     const watchdog::SessionEntry& entry) noexcept;

/// How long it has been in that state; of `active`, how long the running statement has taken.
[[nodiscard]] Duration state_age(const watchdog::Snapshot& snapshot,
                                 const watchdog::SessionEntry& entry, StateLabel state) noexcept;

}  // namespace pgleash::metrics
