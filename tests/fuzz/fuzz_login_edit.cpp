#include "proxy/login_edit.hpp"

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace {

using namespace pgleash;
using proxy::LoginEdit;
using proxy::LoginEditFor;

void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "broken: %s\n", what);
  std::abort();
}

protocol::Bytes bytes(std::string_view text) {
  return std::as_bytes(std::span{text.data(), text.size()});
}

struct Message {
  char type = 0;
  std::string body;
};

/// The whole messages of a stream, and what is left of it.
std::vector<Message> messages(std::string_view stream, std::string& rest) {
  std::vector<Message> all;
  while (stream.size() >= 5) {
    std::size_t length = 0;
    for (std::size_t i = 1; i < 5; ++i)
      length = length * 256 + static_cast<std::uint8_t>(stream[i]);
    if (length < 4 || length + 1 > stream.size()) break;
    all.push_back({stream[0], std::string{stream.substr(5, length - 4)}});
    stream.remove_prefix(length + 1);
  }
  rest = stream;
  return all;
}

std::vector<std::string> strings(std::string_view text, bool& ended) {
  std::vector<std::string> all;
  ended = false;
  while (!text.empty()) {
    if (text.front() == '\0') {
      ended = text.size() == 1;
      break;
    }
    const auto end = text.find('\0');
    if (end == std::string_view::npos) break;
    all.emplace_back(text.substr(0, end));
    text.remove_prefix(end + 1);
  }
  return all;
}

/// What a client may be offered instead: some of the same mechanisms, in their order.
void require_offer(const Message& before, const Message& after) {
  require(before.type == 'R' && after.type == 'R', "only an offer changes");
  require(before.body.starts_with(std::string_view{"\0\0\0\x0a", 4}), "and only one of SASL");
  bool ended_before = false;
  bool ended_after = false;
  const auto offered = strings(std::string_view{before.body}.substr(4), ended_before);
  const auto left = strings(std::string_view{after.body}.substr(4), ended_after);
  require(ended_after, "an offer has its end");
  require(!left.empty(), "an offer is never empty");
  std::vector<std::string> wanted;
  for (const auto& one : offered)
    if (!one.ends_with("-PLUS")) wanted.push_back(one);
  require(left == wanted, "just what binds to a channel is left out");
}

/// An error with a hint behind its own fields.
void require_hinted(const Message& before, const Message& after) {
  require(before.type == 'E' && after.type == 'E', "only an error changes");
  bool ended_before = false;
  bool ended_after = false;
  auto said = strings(before.body, ended_before);
  const auto says = strings(after.body, ended_after);
  require(ended_before && ended_after, "an error that has its end, before and after");
  said.push_back("H" + std::string{proxy::channel_binding_hint()});
  require(says == said, "the same fields, and a hint");
}

std::string edited(LoginEditFor why, std::string_view stream, std::size_t piece) {
  LoginEdit edit{why};
  std::string all;
  std::string out;
  while (!stream.empty()) {
    const auto chunk = stream.substr(0, piece);
    stream.remove_prefix(chunk.size());
    edit.feed(bytes(chunk), stream.empty(), out);
    all += out;
  }
  return all;
}

}  // namespace

/// The server's half of a login, SASL messages above all. However it is cut, the same comes out:
/// what is not an offer of SCRAM or an error of its channel binding byte for byte.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  const std::string_view stream{reinterpret_cast<const char*>(data + 1), size - 1};
  const std::size_t piece = 1 + (data[0] >> 1U);
  const auto why =
      (data[0] & 1U) == 0 ? LoginEditFor::clear_client : LoginEditFor::two_certificates;
  const std::string whole = edited(why, stream, stream.size());
  require(whole == edited(why, stream, piece), "the same in pieces");
  std::string rest_before;
  std::string rest_after;
  const auto before = messages(stream, rest_before);
  const auto after = messages(whole, rest_after);
  require(rest_before == rest_after, "what is no message passes as it is");
  require(before.size() == after.size(), "no message more or less");
  for (std::size_t i = 0; i < before.size(); ++i) {
    if (before[i].type == after[i].type && before[i].body == after[i].body) continue;
    if (why == LoginEditFor::clear_client) {
      require_offer(before[i], after[i]);
    } else {
      require_hinted(before[i], after[i]);
    }
  }
  return 0;
}
