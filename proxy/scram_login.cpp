#include "proxy/scram_login.hpp"

#include "protocol/wire_reader.hpp"

#include <array>
#include <optional>
#include <span>
#include <utility>

namespace pgleash::proxy {

namespace asio = boost::asio;
namespace scram = protocol::scram;

namespace {

using Kind = ScramOutcome::Kind;

constexpr std::size_t header_size = 5;
/// PostgreSQL's own bound for what a client sends in a login.
constexpr std::size_t longest_message = 65'535;

enum class Authentication : std::uint32_t { sasl = 10, sasl_continue = 11, sasl_final = 12 };

void append_number(std::string& out, std::uint32_t number) {
  for (const unsigned shift : {24U, 16U, 8U, 0U}) out += static_cast<char>(number >> shift & 0xFFU);
}

std::string message(char type, std::string_view body) {
  std::string made(1, type);
  append_number(made, static_cast<std::uint32_t>(body.size() + 4));
  return made.append(body);
}

std::string authentication(Authentication code, std::string_view data) {
  std::string body;
  append_number(body, static_cast<std::uint32_t>(code));
  return message('R', body.append(data));
}

std::string initial_response(std::string_view mechanism, std::string_view data) {
  std::string body{mechanism};
  body += '\0';
  append_number(body, static_cast<std::uint32_t>(data.size()));
  return message('p', body.append(data));
}

struct Message {
  std::string whole;  ///< empty: there was none
  [[nodiscard]] char type() const noexcept { return whole.empty() ? '\0' : whole.front(); }
  [[nodiscard]] std::string_view body() const noexcept {
    return std::string_view{whole}.substr(header_size);
  }
  /// Of an Authentication message; what is behind its code.
  [[nodiscard]] std::optional<std::string_view> data(Authentication code) const {
    if (type() != 'R' || body().size() < 4) return std::nullopt;
    const auto* bytes = reinterpret_cast<const std::byte*>(body().data());
    if (protocol::load_uint32(bytes) != static_cast<std::uint32_t>(code)) return std::nullopt;
    return body().substr(4);
  }
};

/// Of a message of another type than `wanted` the head only: nobody waits for what it announces.
asio::awaitable<Message> receive(ScramLeg& leg, std::optional<char> wanted = std::nullopt) {
  Message read;
  std::array<char, header_size> head{};
  const ReadSome first = co_await read_exactly(leg.connection, leg.tls, head);
  if (first.error) co_return read;
  if (wanted && head[0] != *wanted) {
    read.whole.assign(head.data(), head.size());
    co_return read;
  }
  const std::size_t length = protocol::load_uint32(reinterpret_cast<const std::byte*>(&head[1]));
  if (length < 4 || length > longest_message) co_return read;
  std::string whole{head.data(), head.size()};
  whole.resize(1 + length);
  if (length > 4) {
    const ReadSome rest =
        co_await read_exactly(leg.connection, leg.tls, std::span{whole}.subspan(header_size));
    if (rest.error) co_return read;
  }
  read.whole = std::move(whole);
  co_return read;
}

/// The server's words up to its first demand, an error, or its end; notices and a negotiation may
/// come before.
struct Demand {
  std::string before;
  Message last;
  bool scram = false;
  bool plus = false;
};
asio::awaitable<Demand> demand_of(ScramLeg& server) {
  Demand demand;
  for (;;) {
    demand.last = co_await receive(server);
    if (demand.last.type() != 'N' && demand.last.type() != 'v') break;
    demand.before += demand.last.whole;
  }
  if (const auto names = demand.last.data(Authentication::sasl)) {
    protocol::WireReader reader{std::as_bytes(std::span{*names})};
    for (auto name = reader.string(); name && !name->empty(); name = reader.string()) {
      demand.scram = demand.scram || *name == scram::plain;
      demand.plus = demand.plus || *name == scram::bound;
    }
  }
  co_return demand;
}

ScramOutcome refused(const protocol::ProtocolError& error, const std::string& user) {
  ScramOutcome outcome;
  outcome.kind = Kind::refused;
  outcome.notice.sqlstate = error.sqlstate;
  outcome.notice.message = error.sqlstate == "28P01"
                               ? "password authentication failed for user \"" + user + '"'
                               : error.message;
  return outcome;
}

ScramOutcome unexpected() {
  return refused({.sqlstate = "08P01", .message = "expected SASL response", .message_type = 'p'},
                 {});
}

ScramOutcome lost(Kind kind) {
  ScramOutcome outcome;
  outcome.kind = kind;
  return outcome;
}

/// What is said to the client is kept for the session's tracker.
asio::awaitable<bool> say(ScramLeg& client, std::string bytes, ScramOutcome& outcome) {
  const auto unsent = co_await write_all(client.connection, client.tls, bytes);
  outcome.from_server += bytes;
  co_return !unsent;
}

/// What the client gets when the server does not go on with the exchange.
ScramOutcome breaks_off(const Message& answer) {
  ScramOutcome outcome = lost(Kind::server_lost);
  if (answer.type() != 'E') return outcome;
  // Its own words: the password was changed a moment ago, the role's time is over, …
  outcome.kind = Kind::passed_on;
  outcome.from_server = answer.whole;
  return outcome;
}

/// Proves the role to the server. Nothing: it is done; else what the client gets.
asio::awaitable<std::optional<ScramOutcome>> prove(ScramLeg& server, ScramForServer exchange) {
  const std::string first = initial_response(exchange.mechanism(), exchange.first());
  auto unsent = co_await write_all(server.connection, server.tls, first);
  if (unsent) co_return lost(Kind::server_lost);
  const Message challenge = co_await receive(server);
  const auto demanded = challenge.data(Authentication::sasl_continue);
  if (!demanded) co_return breaks_off(challenge);
  const auto proof = exchange.final(*demanded);
  if (!proof) co_return lost(Kind::server_lost);
  const std::string response = message('p', *proof);
  unsent = co_await write_all(server.connection, server.tls, response);
  if (unsent) co_return lost(Kind::server_lost);
  const Message answer = co_await receive(server);
  const auto signature = answer.data(Authentication::sasl_final);
  if (!signature) co_return breaks_off(answer);
  if (exchange.verify(*signature)) co_return std::nullopt;
  co_return refused({.sqlstate = "08006",
                     .message = "the server could not prove that it knows the role's password"},
                    {});
}

}  // namespace

asio::awaitable<ScramOutcome> originate_scram(ScramLeg client, ScramLeg server,
                                              VerifierSource& source, std::string server_name,
                                              std::string user, std::string seed,
                                              Instant deadline) {
  ScramOutcome outcome;
  const Demand demand = co_await demand_of(server);
  if (demand.last.whole.empty()) co_return outcome;
  VerifierAnswer known;
  if (demand.scram) known = co_await source.verifier(std::move(server_name), user, deadline);
  const auto verifier = scram::parse_verifier(known.verifier);
  if (!demand.scram || known.kind == VerifierAnswer::Kind::unavailable) {
    outcome.kind = Kind::passed_on;
    outcome.from_server = demand.before + demand.last.whole;
    co_return outcome;
  }
  const ScramSecret secret = known.kind == VerifierAnswer::Kind::found && verifier
                                 ? ScramSecret::of(*verifier)
                                 : ScramSecret::mock(user, seed);
  ScramForClient exchange{secret, client.channel, scram_nonce()};

  std::string offer;
  if (!client.channel.empty()) offer.append(scram::bound).push_back('\0');
  offer.append(scram::plain).append(2, '\0');
  bool told =
      co_await say(client, demand.before + authentication(Authentication::sasl, offer), outcome);
  if (!told) co_return lost(Kind::client_lost);
  const Message begins = co_await receive(client, 'p');
  if (begins.whole.empty()) co_return lost(Kind::client_lost);
  const auto response = scram::parse_initial_response(begins.body());
  if (begins.type() != 'p') co_return unexpected();
  if (!response) co_return refused(response.error(), user);
  const auto challenge = exchange.first(response->mechanism, response->data);
  if (!challenge) co_return refused(challenge.error(), user);
  told = co_await say(client, authentication(Authentication::sasl_continue, *challenge), outcome);
  if (!told) co_return lost(Kind::client_lost);
  const Message proof = co_await receive(client, 'p');
  if (proof.whole.empty()) co_return lost(Kind::client_lost);
  if (proof.type() != 'p') co_return unexpected();
  const auto client_key = exchange.final(proof.body());
  if (!client_key) co_return refused(client_key.error(), user);

  ScramForServer ours{*client_key,           secret,      server.channel,
                      server.tls != nullptr, demand.plus, scram_nonce()};
  auto wrong = co_await prove(server, std::move(ours));
  if (wrong) co_return *std::move(wrong);
  told = co_await say(client, authentication(Authentication::sasl_final, exchange.last()), outcome);
  if (!told) co_return lost(Kind::client_lost);
  outcome.from_client = begins.whole + proof.whole;
  outcome.kind = Kind::proved;
  co_return outcome;
}

}  // namespace pgleash::proxy
