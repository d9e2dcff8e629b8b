#include "watchdog/recording.hpp"

#include "watchdog/utf8.hpp"

#include <boost/json/array.hpp>
#include <boost/json/monotonic_resource.hpp>
#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <stdexcept>
#include <utility>

namespace pgleash::watchdog {

namespace json = boost::json;
using protocol::SessionState;
using protocol::TransactionStatus;
using std::chrono::milliseconds;

namespace {

/// What each state is called in a recording, in the enumerators' order.
constexpr std::string_view state_letters = "sitebfpodnurz";
static_assert(state_letters.size() == static_cast<std::size_t>(SessionState::closing) + 1);

enum Flag : std::int64_t {
  listening = 1,
  dump = 2,
  exported = 4,
  backup = 8,
  marked = 16,
  commit = 32,
  superuser = 64,
  advisory = 128,
  has_row = 256,
  degraded = 512,
  ending = 1024,
  unknown_text = 2048,
  maintenance = 4096,
  confirmed = 8192,
  half_message = 16384,
};

constexpr std::size_t most_sessions = 100'000;
constexpr std::size_t most_texts = 1'000'000;
/// Beside the number of the run in a SessionId.
constexpr std::int64_t most_numbers = (std::int64_t{1} << 44U) - 1;
/// Moments in Unix milliseconds: the years 1900 to 2099. Nanoseconds count 292 years at most, so
/// that any two of these can be compared and taken from each other.
constexpr std::int64_t earliest = -2'208'988'800'000;
constexpr std::int64_t latest = 4'102'444'800'000 - 1;
/// Any time of a line against the start of the recording.
constexpr std::int64_t longest_time = latest - earliest;
/// How long something lasted: ten years, as the longest of a configuration.
constexpr std::int64_t longest_duration = std::int64_t{10} * 365 * 86'400'000;

std::string quoted(std::string_view text) {
  std::string out{'"'};
  for (const char c : valid_utf8(text)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7F) {
      out += fmt::format("\\u{:04x}", byte);
    } else {
      if (c == '"' || c == '\\') out += '\\';
      out += c;
    }
  }
  return out + '"';
}

void separate(std::string& list) {
  if (!list.empty()) list += ',';
}

/// The fields behind the number, as many as differ from `before`.
std::string changed(std::uint64_t number, const RecordedState& now, const RecordedState& before) {
  const auto fields = [](const RecordedState& state) {
    return std::array<std::int64_t, 8>{state.state,   state.since,       state.statement,
                                       state.request, state.transaction, state.stalled,
                                       state.wait,    state.flags};
  };
  const auto values = fields(now);
  const auto old = fields(before);
  std::size_t used = values.size();
  while (used > 0 && values[used - 1] == old[used - 1]) --used;
  std::string text = fmt::format("[{}", number);
  for (std::size_t i = 0; i < used; ++i)
    text += i == 0 ? fmt::format(",\"{}\"", now.state) : fmt::format(",{}", values[i]);
  return text + ']';
}

[[noreturn]] void damaged(const std::string& what) {
  throw std::invalid_argument(what);
}

/// `what` names it where it is none, or out of its range.
std::int64_t integer(const char* what, const json::value& value, std::int64_t least,
                     std::int64_t most) {
  const auto* small = value.if_int64();
  const auto* large = value.if_uint64();  // only beyond what an int64 holds
  if (small == nullptr && large == nullptr) damaged(fmt::format("{} is no whole number", what));
  if (small == nullptr || *small < least || *small > most)
    damaged(fmt::format("{} is {}, not between {} and {}", what,
                        small != nullptr ? std::to_string(*small) : std::to_string(*large), least,
                        most));
  return *small;
}

std::uint64_t session_number(const json::value& value) {
  return static_cast<std::uint64_t>(integer("the number of a session", value, 1, most_numbers));
}

protocol::BackendPid pid_of(const json::value& value) {
  return protocol::BackendPid{static_cast<std::int32_t>(integer("a pid", value, 0, 0x7FFFFFFF))};
}

const json::array& array(const json::value& value) {
  if (const auto* found = value.if_array()) return *found;
  damaged("a list is none");
}

const json::array& array(const json::value& value, std::size_t least) {
  const json::array& found = array(value);
  if (found.size() < least) damaged("a list is too short");
  return found;
}

std::string_view string(const json::value& value) {
  if (const auto* found = value.if_string()) return {found->data(), found->size()};
  damaged("a text is none");
}

}  // namespace

// ---------------------------------------------------------------- encoder

/// The parts of a line under way.
struct RecordingEncoder::Line {
  std::string texts, statements, opened, changed, closed, locks;
};

RecordingEncoder::RecordingEncoder(RecordingHeader header, Instant started)
    : header_(std::move(header)), started_(started) {}

std::int64_t RecordingEncoder::since_start(Instant when) const noexcept {
  return std::chrono::floor<milliseconds>(when - started_).count();
}

std::int64_t RecordingEncoder::text(std::string_view value, Line& line) {
  const auto [at, fresh] =
      texts_.try_emplace(std::string{value}, static_cast<std::int64_t>(texts_.size()));
  if (fresh) {
    separate(line.texts);
    line.texts += quoted(value);
  }
  return at->second;
}

std::int64_t RecordingEncoder::statement(const ActivityRow& row, Line& line) {
  const Fingerprint& print =
      fingerprints_.of(row.query, row.query.size() + 4 > shown_last_statement);
  const auto [at, fresh] =
      statements_.try_emplace(print.hash, static_cast<std::int64_t>(statements_.size()));
  if (fresh) {
    separate(line.statements);
    line.statements += fmt::format("[{},{}]", quoted(print.hash), quoted(print.text));
  }
  return at->second;
}

RecordedState RecordingEncoder::state_of(const SessionEntry& entry, const Session& session,
                                         bool key, Line& line) {
  const protocol::SessionFacts& facts = entry.view.facts;
  RecordedState state;
  state.state = state_letters[static_cast<std::size_t>(facts.state)];
  state.since = since_start(facts.state_since);
  // While nothing runs, when the last request began is nobody's business, and would cost a number.
  if (facts.outstanding > 0) state.request = state.since - since_start(facts.request_since);
  const bool open = facts.transaction != TransactionStatus::idle || facts.outstanding > 0;
  if (open) state.transaction = state.since - since_start(facts.transaction_since);
  if (entry.view.stalled_since != Instant{}) state.stalled = since_start(entry.view.stalled_since);
  const auto flag = [&](bool set, Flag which) {
    if (set) state.flags |= which;
  };
  flag(facts.listening, Flag::listening);
  flag(facts.dump_transaction, Flag::dump);
  flag(facts.exported_snapshot, Flag::exported);
  flag(facts.backup_running, Flag::backup);
  flag(facts.marked, Flag::marked);
  flag(facts.commit_outstanding, Flag::commit);
  flag(entry.superuser, Flag::superuser);
  flag(entry.advisory_lock, Flag::advisory);
  flag(facts.degraded, Flag::degraded);
  flag(entry.view.ending, Flag::ending);
  flag(facts.statement.unknown, Flag::unknown_text);
  flag(facts.statement.maintenance, Flag::maintenance);
  flag(facts.half_message, Flag::half_message);
  flag(entry.backend.has_value(), Flag::confirmed);
  if (!entry.row) return state;
  const ActivityRow& row = *entry.row;
  state.flags |= Flag::has_row;
  const bool same_statement = !key && row.query_start == session.query_start;
  if (same_statement && session.state.statement >= 0) {
    state.statement = session.state.statement;
  } else if (!row.query.empty()) {
    state.statement = statement(row, line);
  }
  if (!row.wait_event.empty() && row.state != "idle")
    state.wait = text(row.wait_event_type + ':' + row.wait_event, line);
  return state;
}

void RecordingEncoder::open(const SessionEntry& entry, std::uint64_t number, Line& line) {
  const proxy::SessionIdentity& who = *entry.view.who;
  const auto pid = entry.backend ? entry.backend->pid : who.pid.value_or(protocol::BackendPid{});
  const std::string item =
      fmt::format("[{},{},{},{},{},{},{},{},{},{}]", number, static_cast<std::int32_t>(pid),
                  text(who.user, line), text(who.database, line), text(who.application, line),
                  text(who.application_name, line), text(who.client.address, line), who.client.port,
                  since_start(who.connected), who.replication ? 1 : 0);
  separate(line.opened);
  line.opened += item;
}

void RecordingEncoder::add_locks(const Snapshot& snapshot, Line& line) {
  const BlockingForest& forest = snapshot.blocking;
  if (!forest.taken) return;
  const auto number_of = [&](const std::optional<std::size_t>& session) -> std::uint64_t {
    if (!session) return 0;
    const auto found = sessions_.find(proxy::number(snapshot.sessions[*session].view.id));
    return found == sessions_.end() ? 0 : found->second.number;
  };
  const auto ms = [](Duration duration) {
    return std::chrono::floor<milliseconds>(duration).count();
  };
  std::string waits, roots;
  for (const BlockedSession& wait : forest.waits) {
    separate(waits);
    waits += fmt::format("[{},{},{},{},{},[{}]]", static_cast<std::int32_t>(wait.pid),
                         number_of(wait.session), text(wait.mode, line), text(wait.lock_type, line),
                         ms(wait.waited), fmt::join(wait.roots, ","));
  }
  for (const BlockingRoot& root : forest.roots) {
    std::string blocked;
    for (const auto& one : root.blocked) {
      separate(blocked);
      blocked += fmt::format("[{},{}]", one.wait, ms(one.because_of_it));
    }
    separate(roots);
    roots += fmt::format("[{},{},{},{},{},{},{},{},[{}],{},{},[{}]]", static_cast<int>(root.kind),
                         static_cast<std::int32_t>(root.pid), number_of(root.session),
                         text(root.gid, line), text(root.user, line), text(root.database, line),
                         text(root.application, line), text(root.state, line), blocked,
                         ms(root.longest), root.head ? static_cast<std::int64_t>(*root.head) : -1,
                         fmt::join(root.behind_head, ","));
  }
  line.locks = fmt::format("[{},[{}],[{}]]", since_start(*forest.taken), waits, roots);
}

std::string RecordingEncoder::encode(const Snapshot& snapshot) {
  ++frame_;
  const bool key =
      std::exchange(key_due_, false) || !last_key_ || snapshot.now - *last_key_ >= key_interval;
  Line line;
  if (key) {
    last_key_ = snapshot.now;
    texts_.clear();
    statements_.clear();
    server_said_.clear();
  }
  for (const SessionEntry& entry : snapshot.sessions) {
    const auto [at, fresh] = sessions_.try_emplace(proxy::number(entry.view.id));
    Session& session = at->second;
    session.seen = frame_;
    if (fresh) session.number = next_number_++;
    const bool tell = fresh || key || session.who != entry.view.who;
    if (tell) open(entry, session.number, line);
    const RecordedState before = fresh || key ? RecordedState{} : session.state;
    const RecordedState now = state_of(entry, session, fresh || key, line);
    session.who = entry.view.who;
    session.state = now;
    if (entry.row) session.query_start = entry.row->query_start;
    if (now == before) continue;
    separate(line.changed);
    line.changed += changed(session.number, now, before);
  }
  add_locks(snapshot, line);
  std::erase_if(sessions_, [&](const auto& item) {
    if (item.second.seen == frame_) return false;
    if (!key) {
      separate(line.closed);
      line.closed += fmt::format("{}", item.second.number);
    }
    return true;
  });

  std::string text;
  if (std::exchange(header_due_, false))
    text = fmt::format(
        R"({{"pgleash_recording":{},"server":{},"source":{},"run":{},"started_ms":{},"interval_ms":{}}})"
        "\n",
        recording_version, quoted(header_.server), quoted(header_.source), quoted(header_.run),
        header_.started_ms, std::chrono::duration_cast<milliseconds>(header_.interval).count());
  text += fmt::format("{{\"t\":{}", since_start(snapshot.now));
  if (key) text += ",\"k\":1";
  const std::string server = fmt::format(
      "[{},{},{},{},{},{},{}]", snapshot.max_connections, snapshot.reserved_connections,
      snapshot.background_processes, snapshot.direct.size(), snapshot.monitor_up ? 1 : 0,
      snapshot.synchronous_replication ? 1 : 0, snapshot.advisory_taken ? 1 : 0);
  if (server != server_said_) text += ",\"m\":" + server;
  server_said_ = server;
  const auto add = [&](std::string_view name, const std::string& list) {
    if (!list.empty()) text += fmt::format(",\"{}\":[{}]", name, list);
  };
  add("s", line.texts);
  add("q", line.statements);
  add("o", line.opened);
  add("c", line.changed);
  add("x", line.closed);
  if (!line.locks.empty()) text += ",\"l\":" + line.locks;
  return text + "}\n";
}

// ---------------------------------------------------------------- decoder

/// A line that was understood, whole, before anything is changed by it.
struct RecordingDecoder::Frame {
  std::int64_t t = 0;
  bool key = false;
  const json::object* line = nullptr;
};

Instant RecordingDecoder::at(std::int64_t ms) const {
  const std::int64_t moment = header_.started_ms + shift_.count() + ms;
  if (moment < earliest || moment > latest)
    damaged(
        fmt::format("{} ms from the start of the recording is outside the years 1900 to 2099", ms));
  return Instant{} + milliseconds{moment};
}

const std::string& RecordingDecoder::text(std::int64_t number) const {
  if (number < 0 || static_cast<std::size_t>(number) >= texts_.size())
    damaged(fmt::format("there is no text {}", number));
  return texts_[static_cast<std::size_t>(number)];
}

void RecordingDecoder::remove(std::uint64_t number) {
  const auto found = sessions_.find(number);
  if (found == sessions_.end()) damaged("a session ends that never began");
  const std::size_t index = found->second.index;
  const std::size_t last = numbers_.size() - 1;
  if (index != last) {
    snapshot_.sessions[index] = std::move(snapshot_.sessions[last]);
    numbers_[index] = numbers_[last];
    sessions_.at(numbers_[index]).index = index;
  }
  snapshot_.sessions.pop_back();
  numbers_.pop_back();
  sessions_.erase(found);
}

void RecordingDecoder::restore(std::uint64_t number, const RecordedState& state, bool fresh) {
  Session& session = sessions_.at(number);
  SessionEntry& entry = snapshot_.sessions[session.index];
  protocol::SessionFacts& facts = entry.view.facts;
  const RecordedState before = std::exchange(session.state, state);
  const std::size_t letter = state_letters.find(state.state);
  if (letter == std::string_view::npos) damaged("no such state");

  facts.state = static_cast<SessionState>(letter);
  const Instant since = at(state.since);
  const Instant request = at(state.since - state.request);
  const Instant transaction = state.transaction < 0 ? since : at(state.since - state.transaction);
  // Another beginning is another activity; the same one, told again, is not.
  const bool moved = since != facts.state_since || before.state != state.state;
  const bool works =
      facts.state == SessionState::busy || facts.state == SessionState::fastpath ||
      facts.state == SessionState::copy_in || facts.state == SessionState::copy_out ||
      facts.state == SessionState::pipeline_open || facts.state == SessionState::pipeline_flushed ||
      facts.state == SessionState::pipeline_failed;
  if (fresh || moved) ++facts.mark.state;
  if (fresh || request != facts.request_since || (moved && !works)) ++facts.mark.request;
  if (fresh || transaction != facts.transaction_since) ++facts.mark.transaction;
  facts.state_since = since;
  facts.request_since = request;
  facts.transaction_since = transaction;
  facts.last_frontend_byte = facts.last_backend_byte = since;
  facts.outstanding = works ? 1 : 0;
  facts.transaction = facts.state == SessionState::aborted ? TransactionStatus::failed
                      : facts.state == SessionState::idle_in_transaction
                          ? TransactionStatus::in_transaction
                          : TransactionStatus::idle;
  const auto has = [&](Flag which) { return (state.flags & which) != 0; };
  facts.listening = has(Flag::listening);
  facts.dump_transaction = has(Flag::dump);
  facts.exported_snapshot = has(Flag::exported);
  facts.backup_running = has(Flag::backup);
  facts.marked = has(Flag::marked);
  facts.commit_outstanding = has(Flag::commit);
  facts.degraded = has(Flag::degraded);
  facts.half_message = has(Flag::half_message);
  facts.statement = {};
  facts.statement.unknown = has(Flag::unknown_text);
  facts.statement.maintenance = has(Flag::maintenance);
  entry.view.ending = has(Flag::ending);
  entry.view.stalled_since = state.stalled < 0 ? Instant{} : at(state.stalled);
  entry.superuser = has(Flag::superuser);
  entry.advisory_lock = has(Flag::advisory);
  entry.mapping = has(Flag::confirmed) ? Mapping::confirmed : Mapping::in_band;
  const auto& who = *entry.view.who;
  entry.backend.reset();
  if (has(Flag::confirmed) && who.pid)
    entry.backend = BackendId{*who.pid, ServerTime{static_cast<std::int64_t>(number)}};
  entry.fingerprint.reset();
  if (!has(Flag::has_row)) {
    entry.row.reset();
    return;
  }
  ActivityRow& row = entry.row.edit();
  row.backend = {who.pid.value_or(protocol::BackendPid{}),
                 ServerTime{static_cast<std::int64_t>(number)}};
  row.state = works ? "active" : std::string{protocol::name(facts.state)};
  row.superuser = entry.superuser;
  row.wait_event_type.clear();
  row.wait_event.clear();
  if (state.wait >= 0) {
    const std::string& wait = text(state.wait);
    const std::size_t colon = std::min(wait.find(':'), wait.size());
    row.wait_event_type = wait.substr(0, colon);
    row.wait_event = wait.substr(std::min(colon + 1, wait.size()));
  }
  row.query.clear();
  if (state.statement >= 0) {
    if (static_cast<std::size_t>(state.statement) >= statements_.size())
      damaged("no such statement");
    const auto& [hash, words] = statements_[static_cast<std::size_t>(state.statement)];
    row.query = words;
    if (works && !hash.empty()) entry.fingerprint = std::stoull(hash, nullptr, 16);
  }
}

void RecordingDecoder::read_header(std::string_view line) {
  const json::value value = json::parse(json::string_view{line.data(), line.size()});
  const json::object& header = value.as_object();
  RecordingHeader read;
  read.server = string(header.at("server"));
  read.source = string(header.at("source"));
  read.run = string(header.at("run"));
  read.started_ms = integer("started_ms", header.at("started_ms"), 0, latest);
  read.interval =
      milliseconds{integer("interval_ms", header.at("interval_ms"), 1, longest_duration)};
  if (!started_ || read.run != header_.run) {
    ++run_;
    sessions_.clear();
    numbers_.clear();
    snapshot_.sessions.clear();
    shift_ = {};
    const Instant begin = Instant{} + milliseconds{read.started_ms};
    if (started_ && begin < snapshot_.now)
      shift_ = std::chrono::ceil<milliseconds>(snapshot_.now - begin);
  }
  started_ = true;
  know_ = false;
  header_ = std::move(read);
  snapshot_.server = header_.server;
  snapshot_.outside = header_.source == "record";
}

void RecordingDecoder::apply(const Frame& frame) {
  const json::object& line = *frame.line;
  const auto list = [&](const char* name) -> const json::array* {
    const json::value* found = line.if_contains(name);
    return found == nullptr ? nullptr : &array(*found);
  };
  const auto text_of = [this](const json::value& number) -> const std::string& {
    return text(integer("the number of a text", number, 0, most_texts));
  };
  const Instant now = at(frame.t);
  if (now < snapshot_.now) damaged("time runs backwards");
  if (frame.key) {
    ++keys_;
    texts_.clear();
    statements_.clear();
  }
  if (list("m") != nullptr) {
    const json::array& fields = array(*line.if_contains("m"), 7);
    const auto number = [&](std::size_t i) {
      return static_cast<std::uint32_t>(integer("a number of the server", fields[i], 0, 1 << 30));
    };
    snapshot_.max_connections = number(0);
    snapshot_.reserved_connections = number(1);
    snapshot_.background_processes = number(2);
    if (number(3) > most_sessions) damaged("too many sessions");
    snapshot_.direct.resize(number(3));
    snapshot_.monitor_up = number(4) != 0;
    snapshot_.synchronous_replication = number(5) != 0;
    snapshot_.advisory_taken = number(6) != 0 ? std::optional{now} : std::nullopt;
  }
  if (const json::array* texts = list("s"))
    for (const json::value& one : *texts) texts_.emplace_back(string(one));
  if (const json::array* statements = list("q")) {
    for (const json::value& one : *statements) {
      const json::array& pair = array(one, 2);
      const std::string hash{string(pair[0])};
      if (hash.size() > 16 || hash.find_first_not_of("0123456789abcdef") != std::string::npos)
        damaged("a fingerprint is none");
      statements_.emplace_back(hash, std::string{string(pair[1])});
    }
  }
  if (texts_.size() > most_texts || statements_.size() > most_texts) damaged("too many texts");

  std::vector<std::uint64_t> fresh;
  if (const json::array* opened = list("o")) {
    for (const json::value& one : *opened) {
      const json::array& fields = array(one, 10);
      const std::uint64_t number = session_number(fields[0]);
      proxy::SessionIdentity who;
      who.server = header_.server;
      const auto pid = pid_of(fields[1]);
      if (pid != protocol::BackendPid{}) who.pid = pid;
      who.user = text_of(fields[2]);
      who.database = text_of(fields[3]);
      who.application = text_of(fields[4]);
      who.application_name = text_of(fields[5]);
      who.client.address = text_of(fields[6]);
      who.client.port = static_cast<std::int32_t>(integer("a port", fields[7], -1, 65535));
      who.connected =
          at(integer("since when it is connected", fields[8], -longest_time, longest_time));
      who.replication = integer("replication", fields[9], 0, 1) != 0;
      const auto known = sessions_.find(number);
      if (known == sessions_.end()) {
        if (numbers_.size() >= most_sessions) damaged("too many sessions");
        sessions_[number] = {numbers_.size(), {}, keys_};
        numbers_.push_back(number);
        SessionEntry& entry = snapshot_.sessions.emplace_back();
        entry.view.id = proxy::SessionId{(run_ << 44U) | number};
        entry.view.who = std::make_shared<const proxy::SessionIdentity>(std::move(who));
        fresh.push_back(number);
        continue;
      }
      known->second.key = keys_;
      SessionEntry& entry = snapshot_.sessions[known->second.index];
      const proxy::SessionIdentity& old = *entry.view.who;
      const bool same = old.user == who.user && old.database == who.database &&
                        old.application == who.application && old.client == who.client &&
                        old.pid == who.pid;
      if (!same) entry.view.who = std::make_shared<const proxy::SessionIdentity>(std::move(who));
    }
  }
  std::sort(fresh.begin(), fresh.end());
  if (const json::array* changes = list("c")) {
    for (const json::value& one : *changes) {
      const json::array& fields = array(one, 1);
      const std::uint64_t number = session_number(fields[0]);
      const auto found = sessions_.find(number);
      if (found == sessions_.end()) damaged("no such session");
      const bool is_fresh = std::binary_search(fresh.begin(), fresh.end(), number);
      RecordedState state = frame.key || is_fresh ? RecordedState{} : found->second.state;
      if (fields.size() > 1) {
        const std::string_view letter = string(fields[1]);
        if (letter.size() != 1) damaged("no such state");
        state.state = letter.front();
      }
      const std::array<std::int64_t*, 7> rest{&state.since,       &state.statement, &state.request,
                                              &state.transaction, &state.stalled,   &state.wait,
                                              &state.flags};
      constexpr std::array names{"since",   "statement", "request", "transaction",
                                 "stalled", "wait",      "flags"};
      for (std::size_t i = 0; i < rest.size() && i + 2 < fields.size(); ++i)
        *rest[i] = integer(names[i], fields[i + 2], -longest_time, longest_time);
      restore(number, state, is_fresh);
    }
  }
  if (const json::array* closed = list("x"))
    for (const json::value& one : *closed) remove(session_number(one));
  if (frame.key) {
    std::vector<std::uint64_t> gone;
    for (const auto& [number, session] : sessions_)
      if (session.key != keys_) gone.push_back(number);
    for (const std::uint64_t number : gone) remove(number);
  }

  snapshot_.now = now;
  if (snapshot_.advisory_taken) snapshot_.advisory_taken = now;
  snapshot_.sample_age =
      snapshot_.monitor_up ? std::optional<Duration>{Duration::zero()} : std::nullopt;
  for (SessionEntry& entry : snapshot_.sessions)
    if (entry.row) entry.row_taken = now;

  snapshot_.blocking = {};
  const json::array* locks = list("l");
  if (locks == nullptr) return;
  const json::array& parts = array(*line.if_contains("l"), 3);
  BlockingForest forest;
  forest.taken = at(integer("when locks were read", parts[0], -longest_time, longest_time));
  const auto session_of = [&](const json::value& value) -> std::optional<std::size_t> {
    const auto found = sessions_.find(
        static_cast<std::uint64_t>(integer("the number of a session", value, 0, most_numbers)));
    if (found == sessions_.end()) return std::nullopt;
    return found->second.index;
  };
  const auto duration = [](const json::value& value) -> Duration {
    return milliseconds{integer("how long one waited", value, 0, longest_duration)};
  };
  for (const json::value& one : array(parts[1])) {
    const json::array& fields = array(one, 6);
    BlockedSession& wait = forest.waits.emplace_back();
    wait.pid = pid_of(fields[0]);
    wait.session = session_of(fields[1]);
    wait.mode = text_of(fields[2]);
    wait.lock_type = text_of(fields[3]);
    wait.waited = duration(fields[4]);
    const auto roots = static_cast<std::int64_t>(array(parts[2]).size());
    for (const json::value& root : array(fields[5]))
      wait.roots.push_back(static_cast<std::size_t>(integer("a root", root, 0, roots - 1)));
  }
  const auto wait_index = [&](const json::value& value) {
    return static_cast<std::size_t>(
        integer("a wait", value, 0, static_cast<std::int64_t>(forest.waits.size()) - 1));
  };
  for (const json::value& one : array(parts[2])) {
    const json::array& fields = array(one, 12);
    BlockingRoot& root = forest.roots.emplace_back();
    root.kind = static_cast<RootKind>(
        integer("the kind of a root", fields[0], 0, static_cast<int>(RootKind::prepared)));
    root.pid = pid_of(fields[1]);
    root.session = session_of(fields[2]);
    root.gid = text_of(fields[3]);
    root.user = text_of(fields[4]);
    root.database = text_of(fields[5]);
    root.application = text_of(fields[6]);
    root.state = text_of(fields[7]);
    for (const json::value& blocked : array(fields[8])) {
      const json::array& pair = array(blocked, 2);
      root.blocked.push_back({wait_index(pair[0]), duration(pair[1])});
    }
    root.longest = duration(fields[9]);
    if (fields[10] != -1) root.head = wait_index(fields[10]);
    for (const json::value& behind : array(fields[11]))
      root.behind_head.push_back(wait_index(behind));
  }
  snapshot_.blocking = std::move(forest);
}

RecordingDecoder::What RecordingDecoder::decode(std::string_view line) {
  constexpr std::size_t most_line = std::size_t{256} << 20U;
  why_.clear();
  try {
    if (line.size() > most_line) damaged("a line of more than 256 MiB");
    json::monotonic_resource memory;
    const json::value value = json::parse(json::string_view{line.data(), line.size()}, &memory);
    const json::object* object = value.if_object();
    if (object == nullptr) damaged("no JSON object");
    if (const json::value* version = object->if_contains("pgleash_recording")) {
      const std::int64_t number = integer("pgleash_recording", *version, 0, 1 << 30);
      if (number != recording_version) {
        why_ = fmt::format("a recording of version {}; this program reads version {}", number,
                           recording_version);
        return What::other_version;
      }
      read_header(line);
      return What::header;
    }
    const json::value* t = object->if_contains("t");
    if (t == nullptr) damaged("neither a header nor a frame");
    Frame frame{integer("t", *t, -longest_time, longest_time), object->if_contains("k") != nullptr,
                object};
    if (!started_ || (!know_ && !frame.key)) return What::skipped;
    apply(frame);
    know_ = true;
    return What::frame;
  } catch (const std::exception& e) {
    // What a half understood line left behind is wrong until a key frame tells all again.
    know_ = false;
    why_ = e.what();
    return What::damaged;
  }
}

}  // namespace pgleash::watchdog
