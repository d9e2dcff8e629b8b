#include "protocol/messages.hpp"
#include "protocol/session_tracker.hpp"

#include <cstring>
#include <utility>

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

  /// The client is awake: that alone moves the state's mark.
  std::uint32_t header(char type, std::uint32_t body);
  void body(char type, Bytes prefix, std::size_t end);
  /// A message counts when its last byte is forwarded: until then the server waits for it, and is
  /// as idle as before.
  void whole(char type);

 private:
  [[nodiscard]] std::uint32_t wanted(Kind kind, std::uint32_t body, std::uint32_t limit) const;
  void send(Kind kind, std::uint8_t flags = 0);
  /// What the message runs is known now; it counts once the message is whole.
  void arrives(const StatementTexts::Ref& text, StatementTraits traits, bool known) {
    tracker.arriving_text_ = text;
    tracker.arriving_traits_ = traits;
    tracker.arriving_known_ = known;
  }
  /// Query, Execute or FunctionCall.
  void statement(Kind kind);
  void query(Bytes prefix);
  void parse(Bytes prefix);
  void bind(Bytes prefix);
  void execute(Bytes prefix);
  void close(Bytes prefix);
};

std::uint32_t SessionTracker::FrontendMessages::header(char type, std::uint32_t body) {
  if (type != 'X') tracker.touch_state(now);
  if (tracker.terminated_) return FrameScanner::not_wanted;
  switch (type) {
    case 'Q':
      return wanted(Kind::query, body, read_limit::query);
    case 'P':
      return wanted(Kind::parse, body, read_limit::parse);
    case 'B':
      return wanted(Kind::bind, body, read_limit::bind);
    case 'E':
      return wanted(Kind::execute, body, read_limit::execute);
    case 'C':
      return wanted(Kind::close, body, read_limit::close);
    default:
      return FrameScanner::not_wanted;
  }
}

/// What the server will not read is not read here either.
std::uint32_t SessionTracker::FrontendMessages::wanted(Kind kind, std::uint32_t body,
                                                       std::uint32_t limit) const {
  return tracker.flow_.discards(kind) ? FrameScanner::not_wanted : std::min(body, limit);
}

void SessionTracker::FrontendMessages::whole(char type) {
  if (tracker.terminated_) return;  // the server reads nothing behind Terminate
  switch (type) {
    case 'Q':
      statement(Kind::query);
      break;
    case 'P':
      send(Kind::parse);
      break;
    case 'B':
      send(Kind::bind);
      break;
    case 'E':
      statement(Kind::execute);
      break;
    case 'C':
      send(Kind::close);
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
      arrives({}, {}, true);
      statement(Kind::function_call);
      break;
    case 'c':
      send(Kind::copy_done);
      break;
    case 'f':
      send(Kind::copy_fail);
      break;
    case 'X':
      tracker.terminated_ = true;
      changes.terminate = true;
      break;
    default:  // d, p, and what the server will refuse
      break;
  }
  if (!tracker.refresh_state()) return;
  changes.state = true;
  tracker.touch_state(now);
}

void SessionTracker::FrontendMessages::statement(Kind kind) {
  if (tracker.flow_.discards(kind)) return;
  const StatementTraits traits = tracker.arriving_traits_;
  tracker.facts_.statement = traits;
  tracker.last_statement_ = std::move(tracker.arriving_text_);
  if (kind == Kind::function_call) {
    send(kind);
    return;
  }
  if (std::exchange(tracker.first_to_come_, false)) {
    tracker.first_of_transaction_ = tracker.last_statement_;
    tracker.only_begun_ = traits.only_starts;
    tracker.facts_.marked = traits.marked && tracker.first_is_sure_;
  } else if (std::exchange(tracker.only_begun_, false)) {
    tracker.first_of_transaction_ = tracker.last_statement_;
  }
  send(kind, flags_of(traits, tracker.arriving_known_));
}

void SessionTracker::FrontendMessages::send(Kind kind, std::uint8_t flags) {
  const Outstanding message{kind, flags};
  const bool was_open = tracker.flow_.open();
  const bool was_extended = tracker.flow_.extended_open();
  const auto sent = tracker.flow_.send(message);
  if (sent == MessageFlow::Sent::discarded) return;
  if (sent == MessageFlow::Sent::lost) tracker.anomaly();
  if (message.ends_copy()) return;
  if (!was_open) {
    tracker.begin_request(now);
  } else if (message.extended() && !was_extended) {
    ++tracker.facts_.mark.request;
  }
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

void SessionTracker::FrontendMessages::query(Bytes prefix) {
  tracker.prepared_.forget_unnamed();
  tracker.unnamed_portal_ = {};
  const auto& last = tracker.last_statement_;
  if (is_text(last, prefix)) {
    arrives(last, last.traits(), true);
    return;
  }
  const StatementText query = decode_query(prefix);
  auto& text = tracker.arriving_text_;
  // The block of the last statement's text is free for this one, unless the transaction began with
  // it: a BEGIN gives its own up, as it is about to be passed over.
  if (tracker.only_begun_) tracker.first_of_transaction_ = {};
  if (!text) text = std::move(tracker.last_statement_);
  tracker.texts_->keep(text, query.text, query.truncated);
  const auto traits = text.traits();
  // Of a text that was cut off and holds several statements, the last may be a COMMIT that nobody
  // saw.
  const bool several = traits.starts_transaction || query.text.find(';') != std::string_view::npos;
  arrives(text, traits, !query.truncated || !several);
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
    arrives({}, unknown_traits, false);
    return;
  }
  const auto& text = portal->empty() ? tracker.unnamed_portal_ : tracker.named_portal_;
  arrives(text, text.traits(), bool{text});
}

void SessionTracker::FrontendMessages::close(Bytes prefix) {
  const auto target = decode_close(prefix);
  if (target && target->kind == 'S') tracker.prepared_.forget(target->name);
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
