#include "tests/scenario/story/story.hpp"
#include "tests/support/certificates.hpp"
#include "tests/support/free_port.hpp"

#include <boost/json/parse.hpp>

#include <fstream>
#include <optional>
#include <set>
#include <sstream>

/// A real pgleash tells a real HTTPS receiver, which verifies as docs/webhook.md shows it.
namespace pgleash::test {
namespace {

constexpr const char* key = "a key for this test alone";

class Webhook : public Story {
 protected:
  std::string toml(const std::string& more = {}) {
    const auto secret = server().write_secret("webhook.key", std::string{key} + "\n");
    return fmt::format(
        "[[webhook]]\nname = \"oncall\"\nurl = {{ env = \"HOOK\" }}\nhmac_key = {{ file = \"{}\" "
        "}}\nca_file = \"{}\"\ntimeout = \"500ms\"\n{}\n",
        secret, certificates_.ca(), more);
  }
  PgleashProcess& start(const std::string& more = {}) {
    return pgleash(
        {.rules = rule("idle", "idle", "300ms", "terminate") + toml(more),
         .environment = {fmt::format("HOOK=https://localhost:{}/hook?token=topsecret", port_)}});
  }
  void behave(const std::string& mode) { std::ofstream{directory_ / "mode"} << mode; }
  void receive(const std::string& hosts = "DNS:localhost") {
    const auto pair = certificates_.issue("hooks", hosts);
    receiver_ = std::make_unique<Process>(
        Command{.argv = {"python3", PGLEASH_SOURCE_DIR "/tests/support/webhook_receiver.py",
                         std::to_string(port_), pair.cert, pair.key,
                         server().write_secret("webhook.key", std::string{key} + "\n"),
                         directory_ / "mode", PGLEASH_SOURCE_DIR "/docs/webhook.md"},
                .environment = {},
                .user = {}});
    ASSERT_TRUE(wait_until([&] { return is_ready(); }, 20s)) << receiver_->err();
  }
  /// Requests so far; of one mode when it is named.
  std::vector<boost::json::object> requests(const std::string& mode = {}) {
    std::vector<boost::json::object> all;
    if (!receiver_) return all;
    std::istringstream lines{receiver_->out()};
    for (std::string line; std::getline(lines, line);) {
      boost::system::error_code torn;
      const auto value = boost::json::parse(line, torn);
      if (torn || !value.is_object() || value.as_object().contains("ready")) continue;
      if (mode.empty() || text(value.as_object(), "mode") == mode) all.push_back(value.as_object());
    }
    return all;
  }
  /// The lines of that event, once there are any: the log has a thread of its own.
  std::vector<boost::json::object> logged(const std::string& event) {
    EXPECT_TRUE(wait_until([&] { return !pgleash().log(event).empty(); }, 10s)) << event;
    return pgleash().log(event);
  }
  double notices(const std::string& result) {
    return pgleash().metric("pgleash_notifications_total", {{"result", result}});
  }
  /// Ends one session by the rule; its incident.
  std::string end_one() {
    auto application = login();
    const auto error = application.ended(10s);
    EXPECT_TRUE(error);
    return error ? error->incident() : "";
  }
  static boost::json::object body_of(const boost::json::object& request) {
    return boost::json::parse(text(request, "body")).as_object();
  }

  Certificates certificates_;
  TempDir directory_;
  std::uint16_t port_ = free_port();
  std::unique_ptr<Process> receiver_;

 private:
  bool is_ready() { return receiver_->out().find("ready") != std::string::npos; }
};

TEST_F(Webhook, AKillIsOneRequestWhoseSignatureVerifiesAndWhoseIncidentIsInTheAuditLog) {
  behave("ok");
  receive();
  start();
  const auto incident = end_one();
  ASSERT_TRUE(wait_until([&] { return notices("delivered") == 1; }, 10s));
  ASSERT_THAT(requests(), SizeIs(1));
  const auto request = requests()[0];
  EXPECT_EQ(text(request, "path"), "/hook?token=topsecret");
  EXPECT_TRUE(request.at("verified").as_bool());
  EXPECT_FALSE(request.at("verified_changed").as_bool());
  EXPECT_FALSE(request.at("verified_later").as_bool()) << "a recorded request is of no use";
  const auto body = body_of(request);
  EXPECT_EQ(text(body, "event"), "ended");
  EXPECT_EQ(text(body, "incident"), incident);
  EXPECT_EQ(text(body, "id"), text(request, "delivery"));
  EXPECT_EQ(text(body, "application"), "checkout");
  EXPECT_EQ(text(outcome_line(incident), "outcome"), text(body, "outcome"));

  std::ofstream{directory_ / "body.jsonl"} << text(request, "body") << '\n';
  const auto checked =
      run({.argv = {"python3", PGLEASH_SOURCE_DIR "/tests/support/check_schema.py",
                    PGLEASH_SOURCE_DIR "/deploy/webhook.schema.json", directory_ / "body.jsonl"},
           .environment = {},
           .user = {}});
  if (checked.status != 77) {
    EXPECT_EQ(checked.status, 0) << checked.out;
  }
  EXPECT_EQ(pgleash().process().err().find("topsecret"), std::string::npos);
  EXPECT_EQ(pgleash().process().err().find(key), std::string::npos);
}

/// Down, or one of the receiver's modes.
class Adversity : public Webhook, public testing::WithParamInterface<const char*> {};

TEST_P(Adversity, CostsNothingElseAndWhatWaitsIsDeliveredOnceItIsOver) {
  const std::string mode = GetParam();
  behave(mode);
  if (mode != "down") receive();
  start("queue = 2");
  std::vector<std::string> incidents;
  for (int i = 0; i < 5; ++i) incidents.push_back(end_one());
  ASSERT_TRUE(wait_until([&] { return notices("retried") >= 1; }, 10s));
  for (const auto& line : pgleash().log("termination.finished"))
    EXPECT_LT(number(line, "took_seconds"), 1) << "a kill waits for no receiver";
  EXPECT_LE(pgleash().metric("pgleash_notification_queue_length"), 3);
  EXPECT_TRUE(wait_until([&] { return notices("dropped") >= 2; }, 10s));
  EXPECT_EQ(notices("delivered"), 0);
  const auto fails = logged("webhook.fails");
  ASSERT_THAT(fails, SizeIs(1)) << "said once, however often";
  EXPECT_EQ(text(fails[0], "webhook"), "oncall");

  behave("ok");
  if (mode == "down") receive();
  ASSERT_TRUE(wait_until(
      [&] {
        return notices("delivered") >= 1 &&
               pgleash().metric("pgleash_notification_queue_length") == 0;
      },
      40s));
  std::set<std::string> told;
  for (const auto& request : requests("ok")) {
    EXPECT_TRUE(request.at("verified").as_bool());
    EXPECT_TRUE(told.insert(text(body_of(request), "incident")).second) << "each once";
  }
  EXPECT_TRUE(told.contains(incidents.back())) << "the newest is never the one that is dropped";
  for (const auto& request : requests()) EXPECT_NE(text(request, "path"), "/elsewhere");
  EXPECT_THAT(logged("webhook.works"), SizeIs(1));
}

INSTANTIATE_TEST_SUITE_P(Receiver, Adversity,
                         testing::Values("down", "slow", "error", "redirect", "endless_header"),
                         [](const auto& one) { return std::string{one.param}; });

TEST_F(Webhook, AnEndlessBodyIsNotRead) {
  behave("endless_body");
  receive();
  start();
  (void)end_one();
  EXPECT_TRUE(wait_until([&] { return notices("delivered") == 1; }, 10s));
}

TEST_F(Webhook, WhatTheReceiverWillNeverTakeIsNotRepeated) {
  behave("refuse");
  receive();
  start();
  (void)end_one();
  ASSERT_TRUE(wait_until([&] { return notices("rejected") == 1; }, 10s));
  EXPECT_THAT(logged("webhook.refused"), SizeIs(1));
  EXPECT_THAT(requests(), SizeIs(1));
}

TEST_F(Webhook, ACertificateForAnotherHostGetsNothing) {
  behave("ok");
  receive("DNS:hooks.example");
  start();
  (void)end_one();
  ASSERT_TRUE(wait_until([&] { return notices("retried") >= 1; }, 10s));
  EXPECT_THAT(text(logged("webhook.fails").at(0), "why"), HasSubstr("TLS"));
  EXPECT_THAT(requests(), IsEmpty());
}

TEST_F(Webhook, AReloadAddsOneAndTakesItAway) {
  behave("ok");
  receive();
  start("events = [\"fuse\"]");
  (void)end_one();
  const std::string rules = rule("idle", "idle", "300ms", "terminate");
  const auto reloaded = [&](std::size_t times) {
    pgleash().process().signal(SIGHUP);
    return wait_until([&] { return pgleash().log("config.reloaded").size() == times; }, 10s);
  };
  pgleash().configure({.rules = rules + toml()});
  ASSERT_TRUE(reloaded(1));
  const auto incident = end_one();
  ASSERT_TRUE(wait_until([&] { return notices("delivered") == 1; }, 10s));
  EXPECT_EQ(text(body_of(requests()[0]), "incident"), incident) << "the first was not asked for";
  pgleash().configure({.rules = rules});
  ASSERT_TRUE(reloaded(2));
  (void)end_one();
  EXPECT_EQ(pgleash().page("/metrics").find("pgleash_notifications_total{"), std::string::npos);
  EXPECT_EQ(pgleash().terminate(), 0);
  EXPECT_THAT(requests(), SizeIs(1));
}

}  // namespace
}  // namespace pgleash::test
