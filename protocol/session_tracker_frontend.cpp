#include "protocol/messages.hpp"
#include "protocol/session_tracker.hpp"

#include <cstring>

namespace pgleash::protocol {
namespace {

std::uint8_t flags_of(StatementTraits traits, bool known) noexcept {
  unsigned flags = 0;
  if (traits.ends_transaction || !known) flags |= Outstanding::may_commit;
  if (traits.dump_snapshot) flags |= Outstanding::dump_snapshot;
  if (traits.savepoint_rollback) flags |= Outstanding::savepoint_rollback;
  if (traits.unlistens_all) flags |= Outstanding::unlistens_all;
  return static_cast<std::uint8_t>(flags);
}

constexpr StatementTraits unknown_traits{.unknown = true};

/// Whether the zero-ended bytes are a text that is known: the same statement again is frequent, and
/// needs no hash.
bool is_text(const StatementTexts::Ref& known, Bytes bytes) noexcept {
  const std::string_view text = known.text();
  return bytes.size() == text.size() + 1 && known && !known.truncated() &&
         bytes.back() == std::byte{0} && std::memcmp(text.data(), bytes.data(), text.size()) == 0;
}

}  // namespace

/// What the frontend's messages do: FrameScanner's handler for one chunk.
struct SessionTracker::FrontendMessages {
  SessionTracker& tracker;
  Instant now;
  Changes changes{};

  /// A message counts when its header is forwarded: the server may not answer before the body came,
  /// but the client has committed itself to it.
  std::uint32_t header(char type, std::uint32_t body);
  void body(char type, Bytes prefix, std::size_t end);
  void waiting(char type);

 private:
  bool send(Kind kind, std::uint8_t flags = 0);
  void query(Bytes prefix);
  void parse(Bytes prefix);
  void bind(Bytes prefix);
  void execute(Bytes prefix);
  void close(Bytes prefix);
};

std::uint32_t SessionTracker::FrontendMessages::header(char type, std::uint32_t body) {
  bool read = false;  // whether the server will, and so whether we do
  std::uint32_t limit = 0;
  const auto reads = [&](Kind kind, std::uint32_t bytes, std::uint8_t flags = 0) {
    read = send(kind, flags);
    limit = bytes;
  };
  switch (type) {
    case 'Q':
      reads(Kind::query, read_limit::query, Outstanding::may_commit);
      break;
    case 'P':
      reads(Kind::parse, read_limit::parse);
      break;
    case 'B':
      reads(Kind::bind, read_limit::bind);
      break;
    case 'E':
      reads(Kind::execute, read_limit::execute, Outstanding::may_commit);
      break;
    case 'C':
      reads(Kind::close, read_limit::close);
      break;
    case 'D':
      send(Kind::describe);
      break;
    case 'S':
      send(Kind::sync);
      break;
    case 'H':
      tracker.flow_.flush();
      break;
    case 'F':
      if (send(Kind::function_call)) tracker.run_statement(Kind::function_call, {}, {}, true);
      break;
    case 'c':
      send(Kind::copy_done);
      break;
    case 'f':
      send(Kind::copy_fail);
      break;
    case 'X':
      tracker.closing_ = true;
      changes.terminate = true;
      break;
    default:  // d, p, and what the server will refuse
      break;
  }
  const bool changed = tracker.refresh_state();
  changes.state |= changed;
  if (changed || type != 'X') tracker.touch_state(now);
  return read ? std::min(body, limit) : FrameScanner::not_wanted;
}

/// False when the server will discard it.
bool SessionTracker::FrontendMessages::send(Kind kind, std::uint8_t flags) {
  const Outstanding message{kind, flags};
  const bool was_open = tracker.flow_.open();
  const bool was_extended = tracker.flow_.extended_open();
  const auto sent = tracker.flow_.send(message);
  if (sent == MessageFlow::Sent::discarded) return false;
  if (sent == MessageFlow::Sent::lost) tracker.anomaly();
  if (message.ends_copy()) return true;
  if (!was_open) {
    tracker.begin_request(now);
  } else if (message.extended() && !was_extended) {
    ++tracker.facts_.mark.request;
  }
  return true;
}

void SessionTracker::FrontendMessages::body(char type, Bytes prefix, std::size_t /*end*/) {
  switch (type) {
    case 'Q':
      query(prefix);
      break;
    case 'P':
      parse(prefix);
      break;
    case 'B':
      bind(prefix);
      break;
    case 'E':
      execute(prefix);
      break;
    default:
      close(prefix);
      break;
  }
}

/// The text that the statement evidence would name is not there yet: the one before must not be
/// taken for it.
void SessionTracker::FrontendMessages::waiting(char type) {
  if (type != 'Q' && type != 'E') return;
  tracker.last_statement_ = {};
  tracker.facts_.statement = unknown_traits;
}

void SessionTracker::FrontendMessages::query(Bytes prefix) {
  tracker.prepared_.forget_unnamed();
  tracker.unnamed_portal_ = {};
  const auto& last = tracker.last_statement_;
  if (is_text(last, prefix)) {
    tracker.run_statement(Kind::query, last, last.traits(), true);
    return;
  }
  const StatementText query = decode_query(prefix);
  const auto text = tracker.texts_->intern(query.text, query.truncated);
  const auto traits = text ? text.traits() : read_traits(query.text, query.truncated);
  // Of a text that was cut off and holds several statements, the last may be a COMMIT that nobody
  // saw.
  const bool several = traits.starts_transaction || query.text.find(';') != std::string_view::npos;
  tracker.run_statement(Kind::query, text, traits, !query.truncated || !several);
}

void SessionTracker::FrontendMessages::parse(Bytes prefix) {
  const auto statement = decode_parse(prefix);
  if (!statement) return;
  const auto& last = tracker.prepared_.unnamed();
  if (statement->name.empty() && last && last.truncated() == statement->truncated &&
      last.text() == statement->text) {
    return;
  }
  tracker.prepared_.prepare(statement->name,
                            tracker.texts_->intern(statement->text, statement->truncated));
}

void SessionTracker::FrontendMessages::bind(Bytes prefix) {
  const auto names = decode_bind(prefix);
  if (!names) {
    tracker.unnamed_portal_ = tracker.named_portal_ = {};  // either may be meant
    return;
  }
  auto& portal = names->portal.empty() ? tracker.unnamed_portal_ : tracker.named_portal_;
  portal = tracker.prepared_.find(names->statement);
}

void SessionTracker::FrontendMessages::execute(Bytes prefix) {
  const auto portal = decode_execute(prefix);
  if (!portal) {
    tracker.run_statement(Kind::execute, {}, unknown_traits, false);
    return;
  }
  const auto& text = portal->empty() ? tracker.unnamed_portal_ : tracker.named_portal_;
  tracker.run_statement(Kind::execute, text, text.traits(), bool{text});
}

void SessionTracker::FrontendMessages::close(Bytes prefix) {
  const auto target = decode_close(prefix);
  if (target && target->kind == 'S') tracker.prepared_.forget(target->name);
}

/// A statement's text is known, or known to stay unknown.
void SessionTracker::run_statement(Kind kind, const StatementTexts::Ref& text,
                                   StatementTraits traits, bool known) {
  facts_.statement = traits;
  last_statement_ = text;
  if (kind == Kind::function_call) return;
  if (first_to_come_) {
    first_to_come_ = false;
    first_of_transaction_ = text;
  }
  flow_.describe_newest(Outstanding{kind, flags_of(traits, known)});
}

Changes SessionTracker::on_frontend(Bytes bytes, Instant now, TrackerEvents& /*events*/) {
  if (bytes.empty()) return {};
  FrontendMessages messages{*this, now};
  if (!frontend_.feed(bytes, messages)) {
    closing_ = true;
    messages.changes.unframeable = true;
    if (refresh_state()) {
      touch_state(now);
      messages.changes.state = true;
    }
  }
  facts_.frontend_bytes += bytes.size();
  facts_.last_frontend_byte = now;
  facts_.half_message = !frontend_.at_boundary();
  refresh_counts();
  return messages.changes;
}

}  // namespace pgleash::protocol
