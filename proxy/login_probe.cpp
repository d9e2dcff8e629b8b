#include "proxy/login_probe.hpp"

#include "protocol/wire_reader.hpp"
#include "proxy/deadline.hpp"

#include <array>
#include <optional>
#include <span>
#include <utility>

namespace pgleash::proxy {

namespace asio = boost::asio;

namespace {

constexpr std::size_t header_size = 5;
/// Nothing longer comes before the first demand.
constexpr std::size_t longest_message = 64 * 1024;

void append_number(std::string& out, std::uint32_t number) {
  for (const unsigned shift : {24U, 16U, 8U, 0U}) out += static_cast<char>(number >> shift & 0xFFU);
}

std::string startup(const LoginClaim& claim) {
  std::string body;
  append_number(body, 3U << 16U);
  const auto add = [&body](std::string_view name, std::string_view value) {
    body.append(name).push_back('\0');
    body.append(value).push_back('\0');
  };
  add("user", claim.user);
  add("database", claim.database);
  add("application_name", "pgleash check");
  if (claim.replication) add("replication", "true");
  body.push_back('\0');
  std::string packet;
  append_number(packet, static_cast<std::uint32_t>(body.size() + 4));
  return packet + body;
}

/// What an Authentication message demands; nothing of one that is not sound.
std::optional<LoginOffer::Kind> demand(std::string_view body) {
  using Kind = LoginOffer::Kind;
  protocol::WireReader reader{std::as_bytes(std::span{body})};
  const auto code = reader.uint32();
  if (!code) return std::nullopt;
  switch (*code) {
    case 0:
      return Kind::in;
    case 3:
      return Kind::password;
    case 5:
      return Kind::md5;
    case 7:
    case 9:
      return Kind::gss;
    case 10: {
      bool scram = false;
      for (auto name = reader.string(); name && !name->empty(); name = reader.string()) {
        if (*name == "SCRAM-SHA-256-PLUS") return Kind::scram_bound;
        scram = scram || *name == "SCRAM-SHA-256";
      }
      return scram ? Kind::scram : Kind::other;
    }
    default:
      return Kind::other;
  }
}

std::string error_field(std::string_view body, char wanted) {
  protocol::WireReader reader{std::as_bytes(std::span{body})};
  for (auto field = reader.byte(); field && *field != '\0'; field = reader.byte()) {
    const auto text = reader.string();
    if (!text) break;
    if (*field == wanted) return std::string{*text};
  }
  return {};
}

struct Message {
  char type = '\0';  ///< '\0': there was none
  std::string body;
};

asio::awaitable<Message> receive(Connection& connection, TlsStream* tls) {
  Message message;
  std::array<char, header_size> head{};
  const ReadSome first = co_await read_exactly(connection, tls, head);
  if (first.error) co_return message;
  const std::size_t length = protocol::load_uint32(reinterpret_cast<const std::byte*>(&head[1]));
  if (length < 4 || length > longest_message) co_return message;
  message.body.resize(length - 4);
  if (!message.body.empty()) {
    const ReadSome rest = co_await read_exactly(connection, tls, message.body);
    if (rest.error) co_return message;
  }
  message.type = head[0];
  co_return message;
}

/// What the leg answers, until it demands something.
asio::awaitable<void> ask(EventSet& events, UpstreamResult& leg, std::string packet,
                          Instant deadline, LoginOffer& offer) {
  Connection connection{events, std::move(leg.fd)};
  const Deadline guard{connection, deadline};
  offer.kind = LoginOffer::Kind::unreachable;
  const auto unsent = co_await write_all(connection, leg.tls.get(), packet);
  for (bool more = !unsent; more;) {
    const Message message = co_await receive(connection, leg.tls.get());
    more = message.type == 'N' || message.type == 'v';  // may come before
    if (message.type == 'R') {
      offer.kind = demand(message.body).value_or(LoginOffer::Kind::other);
    } else if (message.type == 'E') {
      offer.kind = LoginOffer::Kind::refused;
      offer.sqlstate = error_field(message.body, 'C');
      offer.message = error_field(message.body, 'M');
    } else if (!more) {
      offer.message = guard.expired() ? "no answer to the startup packet"
                                      : "the server closed the connection without a word";
    }
  }
  if (unsent) offer.message = unsent.message();
}

}  // namespace

asio::awaitable<LoginOffer> probe_login(EventSet& events, const ProxySettings& settings,
                                        Upstream& upstream, std::size_t server, LoginClaim claim,
                                        Instant deadline) {
  LoginOffer offer;
  offer.unix_socket = settings.servers[server].address.is_unix;
  const std::string packet = startup(claim);
  UpstreamResult leg = co_await upstream.connect(server);
  for (bool again = true; again;) {
    if (!leg.fd.open()) {
      offer.kind = LoginOffer::Kind::unreachable;
      offer.message = leg.error;
      co_return offer;
    }
    if (leg.tls != nullptr) {
      offer.tls = leg.tls->version();
      for (std::size_t i = 0; i < settings.listeners.size(); ++i)
        if (const auto own = settings.listener_tls(i);
            own != nullptr && own->same_certificate(*leg.tls))
          offer.same_certificate.push_back(i);
    }
    const bool may_be_refused = leg.may_be_refused;
    co_await ask(events, leg, packet, deadline, offer);
    // As a session does it with tls = "allow".
    again = may_be_refused && offer.kind == LoginOffer::Kind::refused && offer.sqlstate == "28000";
    if (again) leg = co_await upstream.connect_secured(server);
  }
  co_return offer;
}

}  // namespace pgleash::proxy
