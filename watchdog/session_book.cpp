#include "watchdog/session_book.hpp"

#include <algorithm>
#include <iterator>
#include <utility>

namespace pgleash::watchdog {

using proxy::SessionView;

void SessionBook::apply(proxy::ViewChanges changes) {
  lost_ = true;
  std::ranges::sort(changes.changed, {}, &SessionView::id);
  if (changes.all) {
    views_ = std::move(changes.changed);
  } else {
    strike(std::move(changes.gone));
    write(std::move(changes.changed));
  }
  lost_ = false;
}

void SessionBook::strike(std::vector<proxy::SessionId> gone) {
  if (gone.empty()) return;
  std::ranges::sort(gone);
  std::erase_if(views_,
                [&](const SessionView& view) { return std::ranges::binary_search(gone, view.id); });
  // Most of them may have gone at once.
  if (views_.capacity() > 2 * views_.size()) views_.shrink_to_fit();
}

void SessionBook::write(std::vector<SessionView> changed) {
  std::vector<SessionView> fresh;
  for (SessionView& view : changed) {
    const auto at = std::ranges::lower_bound(views_, view.id, {}, &SessionView::id);
    if (at != views_.end() && at->id == view.id) {
      *at = std::move(view);
    } else {
      fresh.push_back(std::move(view));
    }
  }
  if (fresh.empty()) return;
  const std::size_t before = views_.size();
  const std::size_t after = before + fresh.size();
  // Doubling would leave half of it unused with thousands of sessions that stay.
  if (views_.capacity() < after) views_.reserve(after + after / 8);
  std::ranges::move(fresh, std::back_inserter(views_));
  std::ranges::inplace_merge(views_, views_.begin() + static_cast<std::ptrdiff_t>(before), {},
                             &SessionView::id);
}

}  // namespace pgleash::watchdog
