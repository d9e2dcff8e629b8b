#include "proxy/session_account.hpp"
#include "proxy/session_table.hpp"

#include <algorithm>
#include <utility>

// What others may see of the sessions.
namespace pgleash::proxy {

namespace {

/// Of sessions that are gone, while nobody asks.
constexpr std::size_t most_gone_kept = 1000;

/// Not of one that is over, nor of one that is led to the console: both have no backend.
bool has_view(const Session& session) noexcept {
  return !is_over(session.phase) && (!session.console || session.phase == SessionPhase::login);
}

SessionView view_of(Session& session, Instant now) {
  settle(session, now);
  return {session.id, session.who, session.tracker.facts(), session.stalled_since,
          session.phase == SessionPhase::ending || session.waiter != nullptr};
}

/// Its view may change, or time must be booked for it, without another byte observed.
bool in_motion(const Session& session) noexcept {
  return session.stalled_since != Instant{} || idles_in_transaction(session) ||
         session.phase == SessionPhase::ending || session.waiter != nullptr;
}

}  // namespace

Session* SessionTable::find(SessionId id) noexcept {
  const auto found = sessions_.find(number(id));
  return found == sessions_.end() ? nullptr : found->second.get();
}

Session* SessionTable::find(const protocol::CancelKey& key) noexcept {
  for (const auto& [id, session] : sessions_)
    if (session->phase == SessionPhase::up && session->key.matches(key)) return session.get();
  return nullptr;
}

std::vector<SessionView> SessionTable::views(std::string_view server, Instant now) {
  std::vector<SessionView> result;
  result.reserve(sessions_.size());
  for (const auto& [id, session] : sessions_)
    if (has_view(*session) && session->upstream->name == server)
      result.push_back(view_of(*session, now));
  return result;
}

ViewChanges SessionTable::changes(std::string_view server, bool all, Instant now) {
  ViewChanges result;
  const auto upstream = std::ranges::find(settings_.servers, server, &config::Server::name);
  if (upstream == settings_.servers.end()) return {all, {}, {}};
  Changed& changed = changed_[static_cast<std::size_t>(upstream - settings_.servers.begin())];
  result.all = all || changed.lost;
  changed.lost = true;  // until all is told
  result.changed.reserve(result.all ? sessions_.size() : changed.sessions.size());
  if (result.all) {
    changed.sessions.clear();
    for (const auto& [id, session] : sessions_) {
      if (session->upstream != &*upstream) continue;
      session->touched = has_view(*session) && in_motion(*session);
      if (session->touched) changed.sessions.push_back(session->id);
      if (has_view(*session)) result.changed.push_back(view_of(*session, now));
    }
  } else {
    std::size_t kept = 0;
    for (const SessionId id : changed.sessions) {
      Session* session = find(id);
      const bool there = session != nullptr && has_view(*session);
      if (there) {
        result.changed.push_back(view_of(*session, now));
      } else {
        result.gone.push_back(id);
      }
      if (session == nullptr) continue;
      session->touched = there && in_motion(*session);
      if (session->touched) changed.sessions[kept++] = id;
    }
    changed.sessions.resize(kept);
  }
  changed.lost = false;
  return result;
}

void SessionTable::make_room_for_changes(const Session& session) {
  Changed& changed = changed_of(session);
  if (changed.sessions.size() > sessions_.size() + most_gone_kept) {
    changed.lost = true;
    std::erase_if(changed.sessions, [this](SessionId id) { return find(id) == nullptr; });
  }
  const std::size_t most = changed.sessions.size() + sessions_.size();
  if (changed.sessions.capacity() < most) changed.sessions.reserve(most + most / 4);
}

std::optional<StatementEvidence> SessionTable::evidence(SessionId id) const {
  const auto found = sessions_.find(number(id));
  if (found == sessions_.end()) return std::nullopt;
  const auto& last = found->second->tracker.last_statement();
  const auto& first = found->second->tracker.first_of_transaction();
  return StatementEvidence{std::string{last.text()}, std::string{first.text()}, last.truncated(),
                           first.truncated(), found->second->tracker.facts()};
}

}  // namespace pgleash::proxy
