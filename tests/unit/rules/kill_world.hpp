#pragma once

#include "proxy/kill_check.hpp"
#include "tests/unit/rules/interleavings.hpp"
#include "watchdog/termination_plan.hpp"

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <vector>

namespace pgleash::watchdog {

/// A client, the relay with its hold, a server and one verdict's plan, each going on in any order:
/// a model of all that may come between a judgement and an act. The plan, the tracker and the check
/// before the act are the real ones; the relay, the executor's waits (KillExecutor) and the server
/// are told here in a few lines. Breaks a promise: says so in `broken`.
class KillWorld {
 public:
  /// What the client sends, a letter a message: q a statement, b BEGIN, c COMMIT, x an extended
  /// statement with Flush, s Sync, y an extended statement with Sync.
  struct Story {
    std::string client;
    config::Action action = config::Action::terminate;
    proxy::JudgedCounter counter = proxy::JudgedCounter::state;
    bool monitor = true;
    bool client_leaves = false;  ///< it may close its socket at any moment
  };

  KillWorld(const Story& story, test::Interleavings& choices);
  /// To the end: the plan has finished, or nothing was there to judge.
  void run();

  /// What happened, in order.
  [[nodiscard]] const std::string& trace() const noexcept { return trace_; }

  std::vector<std::string> broken;
  std::optional<Outcome> outcome;
  bool cancelled_something = false;

 private:
  enum class Event : std::uint8_t {
    server_reads_cancel,
    cancel_closes,
    cancel_connects,
    executor_wakes,
    plan_steps,
    relay_reads_server,
    server_steps,
    relay_reads_client,
    client_sends,
    client_closes,
    judge,
    deadline,
  };
  enum class Act : std::uint8_t {
    none,
    awaits_end,
    awaits_moment,
    connecting,
    cancelling,
    awaits_answer
  };

  struct Message {
    char kind = 'q';
    int number = 0;
  };
  /// What the server said about all messages up to that one; no bytes: its end of file.
  struct Answer {
    std::string bytes;
    int number = 0;
  };

  [[nodiscard]] std::vector<Event> possible() const;
  void happen(Event event);
  void promise(bool kept, const char* what);

  // the relay
  [[nodiscard]] proxy::SessionMoment moment() const;
  [[nodiscard]] bool may_read_client() const;
  void relay_client();
  void relay_server();
  void session_over(bool server_eof);

  // the server
  void server_step();
  void answer(bool cancelled);
  void server_cancelled();
  [[nodiscard]] int request_of(int number) const;

  // the watchdog and the executor
  [[nodiscard]] bool judgeable() const;
  void judge();
  void plan_step();
  void begin_act(proxy::KillAction action);
  void terminate_now();
  void go_on();
  void cancel_connected();
  void cancel_closed();
  void deadline_passed();
  void reset_server();
  void done(proxy::KillReport report);
  [[nodiscard]] BackendSight look() const;

  Story story_;
  std::string trace_;
  test::Interleavings& choices_;
  protocol::StatementTexts texts_;
  protocol::SessionTracker tracker_;
  Instant now_{};

  std::size_t sent_ = 0;             ///< of the story
  std::deque<Message> from_client_;  ///< in the client's socket, unread by us
  bool client_closed_ = false;
  bool over_client_ = false;  ///< its end of file went on to the server
  int holds_ = 0;
  std::deque<Message> to_server_;  ///< in the server's socket
  std::deque<Answer> from_server_;
  std::deque<Message> unanswered_;  ///< forwarded, and not answered as far as the relay saw
  int forwarded_ = 0;
  bool over_ = false;          ///< no session any more
  bool ending_ = false;        ///< we said Terminate
  bool server_reset_ = false;  ///< our leg to it is gone
  bool server_gone_ = false;   ///< the backend ended

  std::optional<Message> running_;
  char status_ = 'I';
  bool skipping_ = false;
  int taken_ = 0;  ///< number of the last message it began with

  std::optional<TerminationPlan> plan_;
  proxy::KillOrder order_;
  int judged_number_ = 0;     ///< of the request that was judged
  int judged_forwarded_ = 0;  ///< messages that the server had been given then
  Act act_ = Act::none;
  proxy::InBandStep step_ = proxy::InBandStep::none;
  bool changed_ = false;  ///< the executor is to look again
  bool held_by_us_ = false;
  bool server_eof_ = false;
  bool cancel_in_flight_ = false;
  int acts_ = 0;  ///< on the wire, of whatever kind
  int acts_at_outcome_ = 0;
};

}  // namespace pgleash::watchdog
