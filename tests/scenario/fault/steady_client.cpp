#include "tests/scenario/fault/steady_client.hpp"

#include "tests/support/wait_until.hpp"

#include <optional>

namespace pgleash::test {

using namespace std::chrono_literals;

SteadyClient::SteadyClient(std::map<std::string, std::string> words, WhenLost when_lost)
    : words_(std::move(words)), when_lost_(when_lost), thread_([this] { run(); }) {}

SteadyClient::~SteadyClient() {
  stopping_ = true;
  thread_.join();
}

std::vector<std::string> SteadyClient::errors() const {
  const std::lock_guard lock{mutex_};
  return errors_;
}

bool SteadyClient::works_on(long more, std::chrono::nanoseconds patience) const {
  const long before = transactions_;
  return wait_until([&] { return transactions_ >= before + more; }, patience);
}

void SteadyClient::failed(const std::string& what) {
  if (when_lost_ == WhenLost::log_in_again) {
    ++lost_;
    return;
  }
  const std::lock_guard lock{mutex_};
  errors_.push_back(what);
}

void SteadyClient::transact(LibpqClient& client) {
  const std::string number = std::to_string(transactions_);
  client.exec("BEGIN");
  const std::string answer = client.exec("SELECT " + number + ", repeat('x', 2000)");
  client.exec("COMMIT");
  if (answer == number) {
    ++transactions_;
    return;
  }
  const std::lock_guard lock{mutex_};
  errors_.push_back("asked for " + number + ", got " + answer);
}

void SteadyClient::run() {
  std::optional<LibpqClient> client;
  while (!stopping_) {
    try {
      if (!client) client.emplace(words_);
      transact(*client);
    } catch (const std::runtime_error& error) {
      failed(error.what());
      if (when_lost_ == WhenLost::error) return;
      client.reset();
      (void)wait_until([this] { return stopping_.load(); }, 50ms);
    }
    (void)wait_until([this] { return stopping_.load(); }, 5ms);
  }
}

}  // namespace pgleash::test
