#include "watchdog/blocking_tree.hpp"

#include "watchdog/snapshot.hpp"

#include <algorithm>
#include <array>
#include <functional>
#include <string_view>
#include <unordered_map>
#include <utility>

namespace pgleash::watchdog {
namespace {

/// Ordinary reading takes AccessShare, FOR UPDATE RowShare, writing RowExclusive: these conflict
/// with one of them at least. Source: "Explicit Locking", Conflicting Lock Modes.
bool is_strong(const LockWait& wait) noexcept {
  constexpr std::array<std::string_view, 4> strong{"ShareLock", "ShareRowExclusiveLock",
                                                   "ExclusiveLock", "AccessExclusiveLock"};
  return wait.type == "relation" && std::ranges::find(strong, wait.mode) != strong.end();
}

std::int32_t number(protocol::BackendPid pid) noexcept {
  return static_cast<std::int32_t>(pid);
}

/// Ours for sure: a pid alone says nothing behind a pooler.
bool is_ours(const SessionEntry& entry) noexcept {
  return entry.backend &&
         (entry.mapping == Mapping::confirmed || entry.mapping == Mapping::by_port);
}

}  // namespace

std::string_view name(RootKind kind) noexcept {
  switch (kind) {
    case RootKind::session:
      return "session";
    case RootKind::direct:
      return "direct";
    case RootKind::prepared:
      return "prepared";
    case RootKind::background:
      break;
  }
  return "background";
}

/// One forest in the making.
struct BlockingTree::Builder {
  const LockSample& locks;
  std::span<const SessionEntry> sessions;
  std::span<const ActivityRow> direct;

  std::unordered_map<std::int32_t, std::size_t> wait_of, session_of, direct_of;
  std::vector<std::size_t> asked{};
  std::vector<std::vector<std::size_t>> ahead{};           // waits that a wait stands behind
  std::vector<std::vector<std::size_t>> held_by{};         // roots that hold what a wait waits for
  std::unordered_map<std::string, std::size_t> root_of{};  // by pid or gid
  BlockingForest forest{};

  void index();
  void edges();
  void edges_of(std::size_t wait);
  void guess_edges(std::size_t wait);
  std::size_t root(protocol::BackendPid pid);
  std::size_t prepared_root(const std::string& gid);
  void walk(std::size_t wait);
  void find_heads();
  [[nodiscard]] std::vector<std::size_t> freed_without(std::size_t head) const;
  [[nodiscard]] std::pair<std::uint64_t, std::uint64_t> key(const BlockingRoot& root) const;
};

void BlockingTree::Builder::index() {
  for (std::size_t i = 0; i < sessions.size(); ++i) {
    if (is_ours(sessions[i])) session_of.emplace(number(sessions[i].backend->pid), i);
  }
  for (std::size_t i = 0; i < direct.size(); ++i)
    direct_of.emplace(number(direct[i].backend.pid), i);
  for (std::size_t i = 0; i < locks.waits.size(); ++i) {
    const LockWait& wait = locks.waits[i];
    wait_of.emplace(number(wait.pid), i);
    const auto ours = session_of.find(number(wait.pid));
    forest.waits.push_back({wait.pid,
                            ours == session_of.end() ? std::nullopt : std::optional{ours->second},
                            wait.mode,
                            wait.type,
                            wait.waited,
                            {},
                            {}});
    if (wait.asked) asked.push_back(i);
  }
  ahead.resize(locks.waits.size());
  held_by.resize(locks.waits.size());
}

std::size_t BlockingTree::Builder::root(protocol::BackendPid pid) {
  const auto [known, fresh] =
      root_of.try_emplace("pid " + std::to_string(number(pid)), forest.roots.size());
  if (!fresh) return known->second;
  BlockingRoot& made = forest.roots.emplace_back();
  made.pid = pid;
  if (const auto ours = session_of.find(number(pid)); ours != session_of.end()) {
    const proxy::SessionView& view = sessions[ours->second].view;
    made.kind = RootKind::session;
    made.session = ours->second;
    made.user = view.who->user;
    made.database = view.who->database;
    made.application = view.who->application;
    made.state = protocol::name(view.facts.state);
  } else if (const auto other = direct_of.find(number(pid)); other != direct_of.end()) {
    const ActivityRow& row = direct[other->second];
    made.kind = RootKind::direct;
    made.user = row.user;
    made.database = row.database;
    made.application = row.application_name;
    made.state = row.state;
  }
  return known->second;
}

std::size_t BlockingTree::Builder::prepared_root(const std::string& gid) {
  const auto [known, fresh] = root_of.try_emplace("gid " + gid, forest.roots.size());
  if (!fresh) return known->second;
  BlockingRoot& made = forest.roots.emplace_back();
  made.kind = RootKind::prepared;
  made.gid = gid;
  for (const PreparedHolder& holder : locks.prepared) {
    if (holder.gid != gid) continue;
    made.user = holder.owner;
    made.database = holder.database;
  }
  return known->second;
}

void BlockingTree::Builder::edges_of(std::size_t i) {
  const LockWait& wait = locks.waits[i];
  for (const auto pid : wait.blockers) {
    if (pid == wait.pid) continue;
    const auto waits = wait_of.find(number(pid));
    if (waits != wait_of.end())
      ahead[i].push_back(waits->second);
    else
      held_by[i].push_back(root(pid));
  }
  if (!wait.behind_prepared) return;
  const std::size_t before = held_by[i].size();
  for (const PreparedHolder& holder : locks.prepared) {
    if (holder.tag == wait.tag) held_by[i].push_back(prepared_root(holder.gid));
  }
  if (held_by[i].size() == before) held_by[i].push_back(prepared_root({}));
}

/// A wait nobody asked about stands in a queue of which the older ones were: behind those of them
/// that let nobody pass, and where there are none behind the same as the youngest of them.
void BlockingTree::Builder::guess_edges(std::size_t i) {
  std::optional<std::size_t> youngest;
  for (const std::size_t j : asked) {
    const LockWait& other = locks.waits[j];
    if (other.tag != locks.waits[i].tag) continue;
    youngest = j;
    if (other.type != "relation" || is_strong(other)) ahead[i].push_back(j);
  }
  if (!ahead[i].empty() || !youngest) return;
  ahead[i] = ahead[*youngest];
  held_by[i] = held_by[*youngest];
}

void BlockingTree::Builder::edges() {
  for (std::size_t i = 0; i < locks.waits.size(); ++i) {
    if (locks.waits[i].asked) edges_of(i);
  }
  for (std::size_t i = 0; i < locks.waits.size(); ++i) {
    if (!locks.waits[i].asked) guess_edges(i);
  }
  for (std::size_t i = 0; i < locks.waits.size(); ++i) forest.waits[i].behind = ahead[i];
}

/// From one wait to all its roots, each wait once.
void BlockingTree::Builder::walk(std::size_t from) {
  std::vector<bool> visited(locks.waits.size());
  std::vector<std::size_t> level{from};
  std::vector<std::size_t> roots;
  visited[from] = true;
  for (std::size_t depth = 0; depth < max_depth && !level.empty(); ++depth) {
    std::vector<std::size_t> next;
    for (const std::size_t wait : level) {
      roots.insert(roots.end(), held_by[wait].begin(), held_by[wait].end());
      for (const std::size_t before : ahead[wait]) {
        if (!visited[before]) next.push_back(before);
        visited[before] = true;
      }
    }
    level = std::move(next);
  }
  std::ranges::sort(roots);
  roots.erase(std::unique(roots.begin(), roots.end()), roots.end());
  for (const std::size_t each : roots) {
    forest.roots[each].blocked.push_back({from, {}});
    forest.roots[each].longest = std::max(forest.roots[each].longest, locks.waits[from].waited);
  }
}

/// Those that wait for this wait, or for one of each other, and for nothing else.
std::vector<std::size_t> BlockingTree::Builder::freed_without(std::size_t head) const {
  std::vector<bool> freed(locks.waits.size());
  freed[head] = true;
  std::vector<std::size_t> behind;
  for (bool more = true; more;) {
    more = false;
    for (std::size_t i = 0; i < locks.waits.size(); ++i) {
      if (freed[i] || !held_by[i].empty() || ahead[i].empty()) continue;
      if (!std::ranges::all_of(ahead[i], [&](std::size_t j) { return freed[j]; })) continue;
      freed[i] = more = true;
      behind.push_back(i);
    }
  }
  return behind;
}

void BlockingTree::Builder::find_heads() {
  std::unordered_map<std::size_t, std::vector<std::size_t>> freed;
  for (std::size_t i = 0; i < locks.waits.size(); ++i) {
    if (held_by[i].empty() || !is_strong(locks.waits[i])) continue;
    for (const std::size_t each : held_by[i]) {
      const auto [known, fresh] = freed.try_emplace(i);
      if (fresh) known->second = freed_without(i);
      BlockingRoot& root = forest.roots[each];
      if (known->second.size() <= root.behind_head.size()) continue;
      root.head = i;
      root.behind_head = known->second;
    }
  }
}

std::pair<std::uint64_t, std::uint64_t> BlockingTree::Builder::key(const BlockingRoot& root) const {
  const auto bits = [](std::int64_t value) { return static_cast<std::uint64_t>(value); };
  switch (root.kind) {
    case RootKind::session: {
      const proxy::SessionView& view = sessions[*root.session].view;
      return {proxy::number(view.id), view.facts.mark.transaction};
    }
    case RootKind::direct: {
      const ActivityRow& row = direct[direct_of.at(number(root.pid))];
      return {bits(row.backend.backend_start.microseconds),
              bits(row.xact_start.value_or(ServerTime{}).microseconds)};
    }
    case RootKind::prepared:
      return {std::hash<std::string>{}(root.gid), 0};
    case RootKind::background:
      break;
  }
  return {bits(number(root.pid)), 0};
}

BlockingForest BlockingTree::forest(const LockSample* locks, std::span<const SessionEntry> sessions,
                                    std::span<const ActivityRow> direct) {
  if (locks == nullptr) {
    seen_.clear();
    return {};
  }
  if (locks->waits.empty()) {
    seen_.clear();
    BlockingForest nothing;
    nothing.taken = locks->taken;
    return nothing;
  }
  Builder builder{*locks, sessions, direct, {}, {}, {}};
  builder.index();
  builder.edges();
  for (std::size_t i = 0; i < locks->waits.size(); ++i) builder.walk(i);
  builder.find_heads();

  BlockingForest forest = std::move(builder.forest);
  forest.taken = locks->taken;
  std::map<Pair, Instant> seen;
  for (BlockingRoot& root : forest.roots) {
    const auto [id, transaction] = builder.key(root);
    for (auto& blocked : root.blocked) {
      const LockWait& wait = locks->waits[blocked.wait];
      const Pair pair{id, transaction, number(wait.pid), wait.since.microseconds};
      const auto before = seen_.find(pair);
      const Instant first = before == seen_.end() ? locks->taken : before->second;
      blocked.because_of_it = std::min(wait.waited, Duration{locks->taken - first});
      seen.emplace(pair, first);
    }
    std::ranges::stable_sort(root.blocked, std::greater{}, &BlockingRoot::Blocked::because_of_it);
  }
  seen_ = std::move(seen);
  std::ranges::stable_sort(forest.roots, [](const BlockingRoot& a, const BlockingRoot& b) {
    return a.blocked.size() > b.blocked.size();
  });
  for (std::size_t i = 0; i < forest.roots.size(); ++i) {
    for (const auto& blocked : forest.roots[i].blocked)
      forest.waits[blocked.wait].roots.push_back(i);
  }
  return forest;
}

}  // namespace pgleash::watchdog
