#include "app/watch/render.hpp"

#include "app/watch/text.hpp"
#include "config/duration.hpp"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <functional>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>

namespace pgleash::app {

using watchdog::LeakReport;
using watchdog::Snapshot;

namespace {

constexpr std::size_t shown_suspects = 3;
constexpr std::size_t shown_waits = 4;
constexpr std::size_t most_indented = 6;
constexpr std::size_t unlimited_query = 200;
constexpr std::size_t least_query = 16;

constexpr std::string_view bold = "1", red = "31", yellow = "33", magenta = "35", faint = "2",
                           reversed = "7";

/// Lines under way: cut to the width first, coloured behind.
class Page {
 public:
  explicit Page(const Layout& layout) : layout_(layout) {}

  void add(std::string_view text, std::string_view style = {}) {
    std::string line = layout_.width > 0 ? cut(text, layout_.width) : std::string{text};
    if (layout_.colour && !style.empty()) line = fmt::format("\x1b[{}m{}\x1b[0m", style, line);
    lines_.push_back(std::move(line));
  }
  /// Keeps `most` lines, and says what is not shown.
  void shorten(std::size_t most) {
    if (lines_.size() <= most || most == 0) return;
    const std::size_t left_out = lines_.size() - most + 1;
    lines_.resize(most - 1);
    add(fmt::format("  … {} lines more: make the window higher", left_out), faint);
  }
  [[nodiscard]] std::size_t size() const noexcept { return lines_.size(); }
  [[nodiscard]] std::vector<std::string> take() && { return std::move(lines_); }

 private:
  const Layout& layout_;
  std::vector<std::string> lines_;
};

std::string address_of(const proxy::Endpoint& client) {
  return client.address.empty() ? std::string{"local"}
                                : fmt::format("{}:{}", safe_line(client.address), client.port);
}

std::string plural(std::uint64_t count, std::string_view one) {
  return fmt::format("{} {}{}", count, one, count == 1 ? "" : "s");
}

std::string version_text(std::int32_t version) {
  return version == 0 ? std::string{"PostgreSQL"}
                      : fmt::format("PostgreSQL {}.{}", version / 10000, version % 10000);
}

/// "20m (15m to 30m)"; of one with an end in sight.
std::string span_text(const watchdog::Exhaustion& end) {
  std::string text = short_age(*end.expected);
  if (end.earliest && end.latest)
    text += fmt::format(" ({} to {})", short_age(*end.earliest), short_age(*end.latest));
  return text;
}

void add_head(const WatchView& view, Page& page) {
  page.add(fmt::format("pgleash watch  {}  {}  {}  looks only, ends nobody", safe_line(view.place),
                       version_text(view.server_version), utc(view.when)),
           bold);
  if (!view.problem.empty()) page.add("PROBLEM  " + safe_line(view.problem), red);
  if (!view.advice.empty()) page.add("note     " + safe_line(view.advice), yellow);
  if (!view.snapshot) return;
  const Snapshot& snapshot = *view.snapshot;
  std::map<std::string, std::size_t> states;
  for (const SessionLine& line : view.sessions) ++states[line.state];
  std::string text;
  const auto usable =
      snapshot.max_connections - std::min(snapshot.reserved_connections, snapshot.max_connections);
  text = fmt::format("slots    {} of {} used ({} reserved)", snapshot.sessions.size(), usable,
                     snapshot.reserved_connections);
  for (const auto& [state, count] : states)
    text += fmt::format("  {} {}", state == "?" ? "not shown" : safe_line(state), count);
  const bool nearly_full = usable > 0 && snapshot.sessions.size() * 10 > std::size_t{usable} * 9;
  page.add(text, nearly_full ? red : std::string_view{});
  if (view.forecast.expected)
    page.add("forecast the last slot goes in " + span_text(view.forecast), red);
  for (const watchdog::QuotaForecast& one : view.quotas)
    if (one.end.expected)
      page.add(fmt::format("forecast quota {} ({} of {} sessions) refuses {} in {}",
                           safe_line(one.quota), one.sessions, one.limit,
                           one.holder.empty() ? "who has no name" : safe_line(one.holder),
                           span_text(one.end)),
               red);
}

void add_leak(const LeakReport& report, Page& page) {
  const watchdog::Leak& leak = report.leak;
  page.add(
      fmt::format("LEAK     {}  ({}@{}): {} of {} sessions unused, {:.0f} more an hour, for {}",
                  safe_line(leak.group.application), safe_line(leak.group.user),
                  safe_line(leak.group.database), leak.suspect_count, leak.sessions,
                  leak.slope.value * 3600, short_age(report.stands)),
      red);
  std::string text = "         oldest";
  for (std::size_t i = 0; i < std::min(shown_suspects, report.oldest.size()); ++i) {
    const watchdog::LeakSuspect& one = report.oldest[i];
    const auto pid = one.who->pid ? static_cast<std::int32_t>(*one.who->pid) : 0;
    text += fmt::format("{} pid {} {} unused {}", i > 0 ? "," : "", pid,
                        address_of(one.who->client), short_age(one.unused));
  }
  page.add(text);
  if (report.statement.empty()) return;
  text = fmt::format("         {:.0f} % of them ended in: {}", report.same_statement * 100,
                     safe_line(report.statement));
  for (const auto& [key, value] : report.tags)
    text += fmt::format("  {}={}", safe_line(key), safe_line(value));
  page.add(text);
}

/// Who waits for a root, each below the one it stands behind.
class WaitingTree {
 public:
  WaitingTree(const watchdog::BlockingForest& forest, const watchdog::BlockingRoot& root)
      : root_(root) {
    std::unordered_set<std::size_t> here;
    for (const auto& blocked : root.blocked) here.insert(blocked.wait);
    for (const auto& blocked : root.blocked) {
      const auto& behind = forest.waits[blocked.wait].behind;
      // Behind several it is shown once, below the first.
      const auto parent = std::ranges::find_if(
          behind, [&](std::size_t wait) { return wait != blocked.wait && here.contains(wait); });
      if (parent == behind.end())
        first_.push_back(blocked.wait);
      else
        below_[*parent].push_back(blocked.wait);
    }
  }

  struct Line {
    std::size_t wait;
    std::size_t depth;
    bool last;  ///< of those behind the same one
  };
  [[nodiscard]] std::vector<Line> lines() const {
    std::vector<Line> all;
    add(first_, 0, all);
    // Who waits for each other in a circle, which the server is about to break, is below nobody.
    if (all.size() < root_.blocked.size())
      for (const auto& blocked : root_.blocked)
        if (std::ranges::find(all, blocked.wait, &Line::wait) == all.end())
          all.push_back({blocked.wait, 0, true});
    return all;
  }

 private:
  void add(const std::vector<std::size_t>& waits, std::size_t depth, std::vector<Line>& all) const {
    for (const std::size_t wait : waits) {
      all.push_back({wait, depth, wait == waits.back()});
      if (const auto below = below_.find(wait); below != below_.end())
        add(below->second, depth + 1, all);
    }
  }

  const watchdog::BlockingRoot& root_;
  std::vector<std::size_t> first_;
  std::unordered_map<std::size_t, std::vector<std::size_t>> below_;
};

void add_blocking(const Snapshot& snapshot, Page& page) {
  for (const watchdog::BlockingRoot& root : snapshot.blocking.roots) {
    const std::string who =
        root.kind == watchdog::RootKind::prepared
            ? fmt::format("prepared transaction {}", safe_line(root.gid))
            : fmt::format("pid {} {} ({}@{}) {}", static_cast<std::int32_t>(root.pid),
                          safe_line(root.application), safe_line(root.user),
                          safe_line(root.database), safe_line(root.state));
    page.add(fmt::format("BLOCKS   {}: {} wait, the longest for {}", who, root.blocked.size(),
                         short_age(root.longest)),
             magenta);
    const WaitingTree tree{snapshot.blocking, root};
    const std::vector<WaitingTree::Line> lines = tree.lines();
    for (std::size_t i = 0; i < std::min(shown_waits, lines.size()); ++i) {
      const auto& [at, depth, last] = lines[i];
      const watchdog::BlockedSession& wait = snapshot.blocking.waits[at];
      std::string text = fmt::format("{:{}}{} pid {}", "", 9 + 2 * std::min(depth, most_indented),
                                     last ? "└" : "├", static_cast<std::int32_t>(wait.pid));
      if (wait.session)
        text += ' ' + safe_line(snapshot.sessions[*wait.session].view.who->application);
      text += fmt::format(" waits {} for {} on {}", short_age(wait.waited), safe_line(wait.mode),
                          safe_line(wait.lock_type));
      if (i + 1 == shown_waits && lines.size() > shown_waits)
        text += fmt::format(", and {} more", lines.size() - shown_waits);
      page.add(text);
    }
  }
}

void add_would_act(const WatchView& view, Page& page) {
  std::vector<std::pair<Rehearsal::Key, WouldAct>> rows;
  for (const auto& row : view.would_act)
    if (row.second.count > 0) rows.push_back(row);
  std::stable_sort(rows.begin(), rows.end(),
                   [](const auto& a, const auto& b) { return a.second.count > b.second.count; });
  for (const auto& [key, row] : rows)
    page.add(fmt::format("RULE     {} would have acted on {} ({}), {}; most: {}",
                         safe_line(key.first), safe_line(key.second), plural(row.count, "time"),
                         plural(row.sessions, "session"), safe_line(row.evidence)),
             yellow);
}

void add_nameless(const WatchView& view, Page& page) {
  for (const watchdog::Nameless& one : view.nameless) {
    std::string users;
    for (const std::string& user : one.users)
      users += (users.empty() ? "" : ", ") + safe_line(user);
    page.add(fmt::format("NO NAME  {} {} ({}). {}", plural(one.sessions, "session"),
                         one.said.empty() ? std::string{"without application_name"}
                                          : "called " + safe_line(one.said),
                         users, one.remedy));
  }
}

// ---------------------------------------------------------------- the table

struct Column {
  std::string_view title;
  std::size_t most;
  bool right;
  int drop;  ///< order in which columns go when there is no room; 0: never
  std::string (*text)(const SessionLine&, const Snapshot&);
};

std::string pid_text(const SessionLine& line, const Snapshot& /*snapshot*/) {
  const auto& who = *line.entry->view.who;
  return who.pid ? fmt::format("{}", static_cast<std::int32_t>(*who.pid)) : "-";
}
std::string user_text(const SessionLine& line, const Snapshot& /*snapshot*/) {
  return safe_line(line.entry->view.who->user);
}
std::string database_text(const SessionLine& line, const Snapshot& /*snapshot*/) {
  return safe_line(line.entry->view.who->database);
}
std::string application_text(const SessionLine& line, const Snapshot& /*snapshot*/) {
  return safe_line(line.entry->view.who->application);
}
std::string client_text(const SessionLine& line, const Snapshot& /*snapshot*/) {
  return line.state == "?" ? "?" : address_of(line.entry->view.who->client);
}
std::string state_text(const SessionLine& line, const Snapshot& /*snapshot*/) {
  return safe_line(line.state);
}
std::string age_text(const SessionLine& line, const Snapshot& /*snapshot*/) {
  return line.state == "?" ? "-" : short_age(line.age);
}
std::string transaction_text(const SessionLine& line, const Snapshot& snapshot) {
  const auto& row = line.entry->row;
  return row && row->xact_start ? short_age(snapshot.now - line.entry->view.facts.transaction_since)
                                : "-";
}
std::string wait_text(const SessionLine& line, const Snapshot& /*snapshot*/) {
  const auto& row = line.entry->row;
  if (!row || row->wait_event.empty() || row->state == "idle") return "-";
  return safe_line(row->wait_event_type + ":" + row->wait_event);
}
std::string hurt_text(const SessionLine& line, const Snapshot& /*snapshot*/) {
  return safe_line(line.hurt.why);
}

constexpr std::array<Column, 10> columns{{
    {"pid", 10, true, 0, pid_text},
    {"usename", 16, false, 3, user_text},
    {"datname", 16, false, 2, database_text},
    {"application", 28, false, 0, application_text},
    {"client_addr", 45, false, 4, client_text},
    {"state", 29, false, 0, state_text},
    {"age", 6, true, 0, age_text},
    {"xact", 6, true, 5, transaction_text},
    {"wait_event", 26, false, 1, wait_text},
    {"hurts", 32, false, 0, hurt_text},
}};

std::string_view style_of(const SessionLine& line) noexcept {
  switch (line.hurt.kind) {
    case Hurt::Kind::blocks:
      return magenta;
    case Hurt::Kind::leaked:
      return red;
    case Hurt::Kind::over_limit:
      return yellow;
    case Hurt::Kind::none:
      break;
  }
  return line.state == "idle" ? faint : std::string_view{};
}

void add_table(const WatchView& view, const Layout& layout, Page& page) {
  const Snapshot& snapshot = *view.snapshot;
  std::size_t shown = view.sessions.size();
  if (layout.height > 0) {
    const std::size_t room = layout.height > page.size() + 1 ? layout.height - page.size() - 1 : 0;
    if (room == 0) return;
    if (shown > room) shown = room - 1;  // the last line says how many more there are
  }
  std::vector<std::array<std::string, columns.size()>> cells(shown);
  std::array<std::size_t, columns.size()> widths{};
  for (std::size_t c = 0; c < columns.size(); ++c) {
    widths[c] = columns[c].title.size();
    for (std::size_t i = 0; i < shown; ++i) {
      cells[i][c] = columns[c].text(view.sessions[i], snapshot);
      widths[c] = std::max(widths[c], std::min(columns_of(cells[i][c]), columns[c].most));
    }
  }
  const auto total = [&] {
    std::size_t sum = 0;
    for (const std::size_t width : widths) sum += width > 0 ? width + 2 : 0;
    return sum;
  };
  if (layout.width > 0) {
    for (int next = 1; next <= 5 && total() + least_query > layout.width; ++next)
      for (std::size_t c = 0; c < columns.size(); ++c)
        if (columns[c].drop == next) widths[c] = 0;
  }
  const std::size_t query_width = layout.width == 0        ? unlimited_query
                                  : layout.width > total() ? layout.width - total()
                                                           : 0;
  const auto line_of = [&](const std::function<std::string(std::size_t)>& cell, std::string query) {
    std::string line;
    for (std::size_t c = 0; c < columns.size(); ++c)
      if (widths[c] > 0) line += fit(cell(c), widths[c], columns[c].right) + "  ";
    line += cut(query, query_width);
    line.erase(line.find_last_not_of(' ') + 1);
    return line;
  };
  std::string title = line_of([](std::size_t c) { return std::string{columns[c].title}; }, "query");
  if (layout.colour && layout.width > 0) title = fit(title, layout.width);
  page.add(title, reversed);
  for (std::size_t i = 0; i < shown; ++i) {
    page.add(line_of([&](std::size_t c) { return cells[i][c]; }, safe_line(view.sessions[i].query)),
             style_of(view.sessions[i]));
  }
  if (shown < view.sessions.size())
    page.add(fmt::format("… {} sessions more", view.sessions.size() - shown), faint);
}

}  // namespace

std::string utc(std::chrono::system_clock::time_point when) {
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}Z",
                     fmt::gmtime(std::chrono::system_clock::to_time_t(when)));
}

std::vector<std::string> render(const WatchView& view, const Layout& layout) {
  Page page{layout};
  add_head(view, page);
  if (view.snapshot) {
    for (const LeakReport& report : view.leaks) add_leak(report, page);
    add_blocking(*view.snapshot, page);
    add_would_act(view, page);
    add_nameless(view, page);
    if (view.veiled > 0)
      page.add(fmt::format("VEILED   of {} only the names are shown to this role",
                           plural(view.veiled, "session")),
               yellow);
    if (!view.unjudged.empty())
      page.add(fmt::format("note     not judged from outside: {}", fmt::join(view.unjudged, ", ")),
               faint);
    // Whatever is to be said, a part of the table is seen.
    if (layout.height > 0) page.shorten(std::max<std::size_t>(layout.height * 2 / 3, 3));
    add_table(view, layout, page);
  }
  std::vector<std::string> lines = std::move(page).take();
  if (layout.height > 0 && lines.size() > layout.height) lines.resize(layout.height);
  return lines;
}

}  // namespace pgleash::app
