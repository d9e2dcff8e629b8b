#include "watchdog/proc_text.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <limits>

namespace pgleash::watchdog {
namespace {

template <class Number>
std::optional<Number> number(std::string_view text) noexcept {
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

/// The next word; empty at the end.
std::string_view next_word(std::string_view& text) noexcept {
  const auto begin = text.find_first_not_of(" \t\n");
  if (begin == std::string_view::npos) return text = {};
  text.remove_prefix(begin);
  const auto size = std::min(text.find_first_of(" \t\n"), text.size());
  const std::string_view word = text.substr(0, size);
  text.remove_prefix(size);
  return word;
}

/// What follows "Name:" on its own line.
std::optional<std::string_view> line_of(std::string_view text, std::string_view name) noexcept {
  while (!text.empty()) {
    const auto size = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, size);
    text.remove_prefix(std::min(size + 1, text.size()));
    if (line.starts_with(name) && line.substr(name.size()).starts_with(':'))
      return line.substr(name.size() + 1);
  }
  return std::nullopt;
}

/// The title without "postgres: " and what pads it; nothing when it is no server process. It may
/// still begin with "cluster_name: ".
std::optional<std::string_view> server_title(std::string_view cmdline) noexcept {
  constexpr std::string_view prefix = "postgres: ";
  cmdline = cmdline.substr(0, cmdline.find('\0'));
  if (!cmdline.starts_with(prefix)) return std::nullopt;
  cmdline.remove_prefix(prefix.size());
  while (cmdline.ends_with(' ')) cmdline.remove_suffix(1);
  return cmdline;
}

/// Without `word`, and the blank behind it.
bool take(std::string_view& text, std::string_view word) noexcept {
  if (!text.starts_with(word) || !text.substr(word.size()).starts_with(' ')) return false;
  text.remove_prefix(word.size() + 1);
  return true;
}

/// "10.0.0.7(40001)", "db-client.internal(40001) SELECT", "[local] idle".
bool names_port(std::string_view text, std::int32_t port) noexcept {
  const std::string_view peer = text.substr(0, text.find(' '));
  if (port < 0) return peer == "[local]";
  const auto open = peer.rfind('(');
  if (open == std::string_view::npos || open == 0 || !peer.ends_with(')')) return false;
  return number<std::int32_t>(peer.substr(open + 1, peer.size() - open - 2)) == port;
}

/// Calls `matches` with the title, and with what is behind each "…: " in it, as a cluster's name
/// may stand before: a name may hold ": " itself.
template <class Matches>
bool with_or_without_cluster(std::string_view title, Matches matches) noexcept {
  for (;;) {
    if (matches(title)) return true;
    const auto colon = title.find(": ");
    if (colon == std::string_view::npos) return false;
    title.remove_prefix(colon + 2);
  }
}

}  // namespace

std::optional<ProcStat> parse_proc_stat(std::string_view text) noexcept {
  const auto open = text.find('(');
  const auto close = text.rfind(')');
  if (open == std::string_view::npos || close == std::string_view::npos || close < open)
    return std::nullopt;
  std::string_view before = text.substr(0, open);
  const auto pid = number<std::int32_t>(next_word(before));
  std::string_view rest = text.substr(close + 1);
  // From `state`, the third field of proc(5), on.
  constexpr std::size_t state = 3;
  constexpr std::size_t utime = 14;
  constexpr std::size_t stime = 15;
  constexpr std::size_t starttime = 22;
  std::array<std::string_view, starttime + 1> fields;
  for (std::size_t i = state; i < fields.size(); ++i) fields[i] = next_word(rest);
  const auto user = number<std::uint64_t>(fields[utime]);
  const auto system = number<std::uint64_t>(fields[stime]);
  const auto start = number<std::uint64_t>(fields[starttime]);
  if (!pid || fields[state].size() != 1 || !user || !system || !start) return std::nullopt;
  return ProcStat{*pid, fields[state].front(), *user, *system, *start};
}

std::optional<std::uint64_t> parse_anonymous_memory(std::string_view status) noexcept {
  auto line = line_of(status, "RssAnon");
  if (!line) return std::nullopt;
  const auto kilobytes = number<std::uint64_t>(next_word(*line));
  if (!kilobytes || next_word(*line) != "kB" ||
      *kilobytes > std::numeric_limits<std::uint64_t>::max() / 1024)
    return std::nullopt;
  return *kilobytes * 1024;
}

std::optional<ProcIo> parse_proc_io(std::string_view text) noexcept {
  const auto of = [text](std::string_view name) -> std::optional<std::uint64_t> {
    auto line = line_of(text, name);
    if (!line) return std::nullopt;
    return number<std::uint64_t>(next_word(*line));
  };
  const auto read = of("read_bytes");
  const auto written = of("write_bytes");
  if (!read || !written) return std::nullopt;
  return ProcIo{*read, *written};
}

bool title_names_session(std::string_view cmdline, std::string_view user, std::string_view database,
                         std::int32_t port) noexcept {
  const auto title = server_title(cmdline);
  if (!title || user.empty() || database.empty()) return false;
  return with_or_without_cluster(*title, [&](std::string_view rest) {
    return take(rest, user) && take(rest, database) && names_port(rest, port);
  });
}

bool title_names_worker(std::string_view cmdline, protocol::BackendPid leader) noexcept {
  const auto title = server_title(cmdline);
  if (!title) return false;
  return with_or_without_cluster(*title, [&](std::string_view rest) {
    constexpr std::string_view words = "parallel worker for PID ";
    if (!rest.starts_with(words)) return false;
    rest.remove_prefix(words.size());
    return number<std::int32_t>(rest.substr(0, rest.find(' '))) ==
           static_cast<std::int32_t>(leader);
  });
}

}  // namespace pgleash::watchdog
