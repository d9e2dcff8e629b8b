#include "protocol/scram.hpp"

#include <algorithm>
#include <array>
#include <charconv>

namespace pgleash::protocol::scram {
namespace {

constexpr std::string_view alphabet{
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"};

ProtocolError malformed(std::string_view why) {
  return {.sqlstate = "08P01",
          .message = "malformed SCRAM message (" + std::string{why} + ")",
          .message_type = 'p'};
}

/// Printable ASCII without the comma: RFC 5802's `printable`.
bool is_nonce(std::string_view text) noexcept {
  return !text.empty() && text.size() <= max_nonce &&
         std::ranges::all_of(text, [](char c) { return c >= '!' && c <= '~' && c != ','; });
}

/// Takes "x=value" off the front, up to the next comma or the end, with the comma.
std::optional<std::string_view> take(std::string_view& text, char name) noexcept {
  if (text.size() < 2 || text[0] != name || text[1] != '=') return std::nullopt;
  text.remove_prefix(2);
  const std::size_t end = std::min(text.find(','), text.size());
  const std::string_view value = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  return value;
}

std::optional<std::uint32_t> number(std::string_view text) noexcept {
  std::uint32_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || value == 0 ||
      value > max_iterations)
    return std::nullopt;
  return value;
}

std::optional<std::string> key(std::string_view text) {
  auto bytes = from_base64(text);
  if (!bytes || bytes->size() != key_size) return std::nullopt;
  return bytes;
}

std::optional<ProtocolError> unfit(std::string_view message) {
  if (message.empty()) return malformed("empty");
  if (message.size() > max_message) return malformed("too long");
  if (message.find('\0') != std::string_view::npos) return malformed("a zero byte");
  return std::nullopt;
}

}  // namespace

std::string to_base64(std::string_view bytes) {
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4);
  for (std::size_t at = 0; at < bytes.size(); at += 3) {
    const std::size_t have = std::min<std::size_t>(3, bytes.size() - at);
    std::uint32_t group = 0;
    for (std::size_t i = 0; i < 3; ++i)
      group = group << 8U | (i < have ? static_cast<unsigned char>(bytes[at + i]) : 0U);
    for (std::size_t i = 0; i < 4; ++i)
      out += i <= have ? alphabet[group >> (18U - 6U * i) & 0x3FU] : '=';
  }
  return out;
}

std::optional<std::string> from_base64(std::string_view text) {
  if (text.empty() || text.size() % 4 != 0) return std::nullopt;
  std::size_t padding = 0;
  while (padding < 2 && text[text.size() - 1 - padding] == '=') ++padding;
  std::string out;
  out.reserve(text.size() / 4 * 3);
  std::uint32_t group = 0;
  for (std::size_t at = 0; at < text.size(); ++at) {
    std::size_t value = 0;
    if (at < text.size() - padding) {
      value = alphabet.find(text[at]);
      if (value == std::string_view::npos) return std::nullopt;
    }
    group = group << 6U | static_cast<std::uint32_t>(value);
    if (at % 4 != 3) continue;
    const bool last = at + 1 == text.size();
    const std::size_t bytes = last ? 3 - padding : 3;
    for (std::size_t i = 0; i < bytes; ++i)
      out += static_cast<char>(group >> (16U - 8U * i) & 0xFFU);
    if (last && padding > 0 && (group & ((1U << (8U * padding)) - 1U)) != 0) return std::nullopt;
    group = 0;
  }
  return out;
}

Result<ClientFirst> parse_client_first(std::string_view message) {
  if (auto fault = unfit(message)) return *std::move(fault);
  ClientFirst first;
  std::string_view rest = message;
  switch (message.front()) {
    case 'n':
      first.binding = Binding::none;
      rest.remove_prefix(1);
      break;
    case 'y':
      first.binding = Binding::unoffered;
      rest.remove_prefix(1);
      break;
    case 'p': {
      const auto type = take(rest, 'p');
      if (!type) return malformed("channel binding");
      if (*type != "tls-server-end-point")
        return ProtocolError{.sqlstate = "08P01",
                             .message = "unsupported SCRAM channel-binding type",
                             .message_type = 'p'};
      first.binding = Binding::used;
      rest = message.substr(std::string_view{"p=tls-server-end-point"}.size());
      break;
    }
    default:
      return malformed("unexpected channel-binding flag");
  }
  if (!rest.starts_with(',')) return malformed("comma expected");
  rest.remove_prefix(1);
  if (rest.starts_with("a="))
    return ProtocolError{.sqlstate = "0A000",
                         .message = "client uses authorization identity, but it is not supported",
                         .message_type = 'p'};
  if (!rest.starts_with(',')) return malformed("unexpected attribute before the user name");
  rest.remove_prefix(1);
  first.gs2_header = message.substr(0, message.size() - rest.size());
  first.bare = rest;
  if (rest.starts_with("m="))
    return ProtocolError{.sqlstate = "0A000",
                         .message = "client requires an unsupported SCRAM extension",
                         .message_type = 'p'};
  if (!take(rest, 'n')) return malformed("user name expected");
  const auto nonce = take(rest, 'r');
  if (!nonce) return malformed("nonce expected");
  if (!is_nonce(*nonce)) return malformed("nonce");
  // What may follow are extensions that nobody has to know.
  first.nonce = *nonce;
  return first;
}

Result<ServerFirst> parse_server_first(std::string_view message) {
  if (auto fault = unfit(message)) return *std::move(fault);
  ServerFirst first;
  std::string_view rest = message;
  const auto nonce = take(rest, 'r');
  const auto salt = nonce ? take(rest, 's') : std::nullopt;
  const auto iterations = salt ? take(rest, 'i') : std::nullopt;
  if (!iterations || !is_nonce(*nonce)) return malformed("server's first message");
  const auto decoded = from_base64(*salt);
  const auto rounds = number(*iterations);
  if (!decoded || !rounds) return malformed("salt or iterations");
  first.nonce = *nonce;
  first.salt = *decoded;
  first.iterations = *rounds;
  return first;
}

std::string server_first(std::string_view nonce, std::string_view salt, std::uint32_t iterations) {
  return "r=" + std::string{nonce} + ",s=" + to_base64(salt) + ",i=" + std::to_string(iterations);
}

Result<ClientFinal> parse_client_final(std::string_view message) {
  if (auto fault = unfit(message)) return *std::move(fault);
  ClientFinal final;
  std::string_view rest = message;
  const auto channel = take(rest, 'c');
  const auto nonce = channel ? take(rest, 'r') : std::nullopt;
  if (!nonce || !is_nonce(*nonce)) return malformed("channel binding and nonce expected");
  // Extensions may come in between; the proof is last.
  const std::size_t at = rest.starts_with("p=") ? 0 : rest.rfind(",p=");
  if (at == std::string_view::npos) return malformed("proof expected");
  const std::string_view proof = rest.substr(at + (at == 0 && rest.starts_with("p=") ? 2 : 3));
  const auto decoded_channel = from_base64(*channel);
  const auto decoded_proof = key(proof);
  if (!decoded_channel) return malformed("channel binding");
  if (!decoded_proof) return malformed("proof");
  final.channel = *decoded_channel;
  final.nonce = *nonce;
  final.proof = *decoded_proof;
  final.without_proof = message.substr(0, message.size() - proof.size() - 3);
  return final;
}

Result<std::string> parse_server_final(std::string_view message) {
  if (auto fault = unfit(message)) return *std::move(fault);
  std::string_view rest = message;
  const auto signature = take(rest, 'v');
  if (!signature) return malformed("server's final message");
  auto decoded = key(*signature);
  if (!decoded) return malformed("server signature");
  return *std::move(decoded);
}

std::optional<Verifier> parse_verifier(std::string_view text) {
  constexpr std::string_view scheme{"SCRAM-SHA-256$"};
  if (!text.starts_with(scheme) || text.size() > max_message) return std::nullopt;
  text.remove_prefix(scheme.size());
  std::array<std::string_view, 4> parts;
  constexpr std::array ends{':', '$', ':'};
  for (std::size_t i = 0; i < ends.size(); ++i) {
    const std::size_t end = text.find(ends[i]);
    if (end == std::string_view::npos) return std::nullopt;
    parts[i] = text.substr(0, end);
    text.remove_prefix(end + 1);
  }
  parts[3] = text;
  const auto iterations = number(parts[0]);
  auto salt = from_base64(parts[1]);
  auto stored = key(parts[2]);
  auto server = key(parts[3]);
  if (!iterations || !salt || !stored || !server) return std::nullopt;
  return Verifier{*iterations, *std::move(salt), *std::move(stored), *std::move(server)};
}

Result<InitialResponse> parse_initial_response(std::string_view body) {
  InitialResponse response;
  const std::size_t end = body.find('\0');
  if (end == std::string_view::npos || body.size() - end - 1 < 4)
    return malformed("SASLInitialResponse");
  response.mechanism = body.substr(0, end);
  body.remove_prefix(end + 1);
  std::uint32_t length = 0;
  for (std::size_t i = 0; i < 4; ++i) length = length << 8U | static_cast<unsigned char>(body[i]);
  body.remove_prefix(4);
  // -1 says that nothing follows; SCRAM always begins with the client.
  if (length != body.size()) return malformed("length of SASLInitialResponse");
  response.data = body;
  return response;
}

}  // namespace pgleash::protocol::scram
