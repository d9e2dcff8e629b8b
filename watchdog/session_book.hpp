#pragma once

#include "proxy/session_view.hpp"

#include <vector>

namespace pgleash::watchdog {

/// The views of one server's sessions, kept from tick to tick: only those that changed are told
/// anew. Pure; control thread.
class SessionBook {
 public:
  /// What it holds may not be all, or not the newest: all have to be told.
  [[nodiscard]] bool lost() const noexcept { return lost_; }
  /// Before changes are asked for: if they never come, nobody tells them again.
  void lose() noexcept { lost_ = true; }
  void apply(proxy::ViewChanges changes);

  /// By id, ascending.
  [[nodiscard]] const std::vector<proxy::SessionView>& views() const noexcept { return views_; }

 private:
  void strike(std::vector<proxy::SessionId> gone);
  void write(std::vector<proxy::SessionView> changed);

  std::vector<proxy::SessionView> views_;
  bool lost_ = true;
};

}  // namespace pgleash::watchdog
