#pragma once

#include "protocol/session_tracker.hpp"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

/// Plays a conversation, written in the shorthand of protocol traces, against a tracker.
///
///   > Q(select 1)          the client's messages; S, H, P(text), P(name: text), B, B(name), E, X,
///   d, c, f, F, D, C(name) < T D C(SELECT 1) Z(T)  the server's; 1 2 3 n t T D C I s G H W V A N d
///   c, E, FATAL, Z (idle), R(0), S(name=value) = idle                  the state to be seen now
namespace pgleash::protocol::trace {

struct Step {
  std::optional<Direction> direction;  ///< none: an expectation
  std::string bytes;
  std::string state;
};

std::vector<Step> read(std::string_view script);

/// Remembers what the tracker reported.
struct Report final : TrackerEvents {
  std::string events;
  void backend_key(BackendPid pid, Bytes secret) override;
  void parameter_status(std::string_view name, std::string_view value) override;
  void server_error(std::string_view severity, std::string_view sqlstate) override;
  void negotiated_minor(std::int32_t newest_minor) override;
};

/// How a step's bytes are handed to the tracker.
enum class Chunks : std::uint8_t { whole, bytewise, cut };

/// A tracker behind a login, with what it sees kept.
class Player {
 public:
  Player();
  void play(std::string_view script) { play(read(script)); }
  /// With Chunks::cut, the step numbered `cut_step` comes in two chunks, `cut_at` bytes in the
  /// first.
  void play(const std::vector<Step>& steps, Chunks chunks = Chunks::whole, std::size_t cut_step = 0,
            std::size_t cut_at = 0);
  Changes frontend(std::string_view bytes);
  Changes backend(std::string_view bytes);
  void wait(Duration duration) { now += duration; }

  [[nodiscard]] const SessionFacts& facts() const { return tracker.facts(); }
  [[nodiscard]] std::string state() const { return std::string{short_name(facts().state)}; }
  static std::string_view short_name(SessionState state);

  StatementTexts texts{StatementTexts::default_bytes, "pgleash:keep"};
  Instant now{};
  SessionTracker tracker{texts, now};
  Report report;
  std::vector<SessionFacts> seen;  ///< the facts at each expectation
};

/// The conversation whole, byte by byte, and with each of its steps cut at every offset: always the
/// same facts.
void expect_same_in_all_chunkings(std::string_view script);

}  // namespace pgleash::protocol::trace
