#pragma once

#include "tests/scenario/fault/house.hpp"
#include "tests/scenario/story/story.hpp"

#include <memory>
#include <string>
#include <utility>

namespace pgleash::test {

/// A fault, and the house in order behind it.
class Fault : public Story {
 protected:
  /// A pgleash with a steady client at work.
  House& house(PgleashOptions options = {},
               SteadyClient::WhenLost when_lost = SteadyClient::WhenLost::error) {
    pgleash(std::move(options));
    house_ = std::make_unique<House>(postgres(), pgleash(), when_lost);
    return *house_;
  }
  void TearDown() override {
    house_.reset();
    Story::TearDown();
  }

  Application login_as(const std::string& name) { return login({{"application_name", name}}); }
  /// In the log, by now or soon.
  bool logged(const std::string& event, std::chrono::nanoseconds patience = 10s) {
    return wait_until([&] { return !pgleash().log(event).empty(); }, patience);
  }
  static std::string end_leaky_transactions(const std::string& limit = "300ms") {
    return rule("idle-tx", "idle_in_transaction", limit, "terminate",
                "grace = \"1s\"\n" + for_application("leaky"));
  }

 private:
  std::unique_ptr<House> house_;
};

}  // namespace pgleash::test
