#include "proxy/scram_exchange.hpp"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#include <algorithm>
#include <new>
#include <stdexcept>
#include <utility>

namespace pgleash::proxy {

namespace scram = protocol::scram;
using protocol::ProtocolError;

namespace {

const unsigned char* octets(std::string_view text) noexcept {
  return reinterpret_cast<const unsigned char*>(text.data());
}

bool same(std::string_view a, std::string_view b) noexcept {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

ScramKey differing(const ScramKey& a, std::string_view b) noexcept {
  ScramKey made{b};
  for (std::size_t i = 0; i < scram::key_size; ++i)
    made.data()[i] ^= static_cast<unsigned char>(a.view()[i]);
  return made;
}

ProtocolError malformed(std::string message) {
  return {.sqlstate = "08P01", .message = std::move(message), .message_type = 'p'};
}

ProtocolError failed() {
  return {.sqlstate = "28P01", .message = {}, .message_type = 'p'};
}

}  // namespace

ScramKey::ScramKey(std::string_view bytes) noexcept {
  std::copy_n(octets(bytes), std::min(bytes.size(), bytes_.size()), bytes_.begin());
}

ScramKey::~ScramKey() {
  OPENSSL_cleanse(bytes_.data(), bytes_.size());
}

ScramKey hmac_sha256(std::string_view key, std::string_view text) {
  ScramKey made;
  unsigned size = 0;
  if (::HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), octets(text), text.size(),
             made.data(), &size) == nullptr)
    throw std::bad_alloc{};
  return made;
}

ScramKey sha256(std::string_view text) {
  ScramKey made;
  unsigned size = 0;
  if (::EVP_Digest(text.data(), text.size(), made.data(), &size, EVP_sha256(), nullptr) != 1)
    throw std::bad_alloc{};
  return made;
}

std::string scram_nonce() {
  std::array<unsigned char, 18> bytes{};
  if (::RAND_bytes(bytes.data(), static_cast<int>(bytes.size())) != 1)
    throw std::runtime_error("no random numbers");
  return scram::to_base64({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

ScramSecret ScramSecret::of(const scram::Verifier& verifier) {
  return {true, verifier.iterations, verifier.salt, ScramKey{verifier.stored_key},
          ScramKey{verifier.server_key}};
}

ScramSecret ScramSecret::mock(std::string_view user, std::string_view seed) {
  const ScramKey salt = hmac_sha256(seed, std::string{"salt "} + std::string{user});
  ScramSecret made;
  made.salt = salt.view().substr(0, 16);
  made.stored_key = hmac_sha256(seed, std::string{"stored "} + std::string{user});
  made.server_key = hmac_sha256(seed, std::string{"server "} + std::string{user});
  return made;
}

ScramForClient::ScramForClient(ScramSecret secret, std::string channel, std::string nonce)
    : secret_(std::move(secret)), channel_(std::move(channel)), nonce_(std::move(nonce)) {}

protocol::Result<std::string> ScramForClient::first(std::string_view mechanism,
                                                    std::string_view message) {
  const bool plus = mechanism == scram::bound;
  if ((!plus && mechanism != scram::plain) || (plus && channel_.empty()))
    return malformed("client selected an invalid SASL authentication mechanism");
  auto parsed = scram::parse_client_first(message);
  if (!parsed) return parsed.error();
  client_ = std::move(*parsed);
  const bool binds = client_.binding == scram::Binding::used;
  if (plus != binds)
    return malformed(plus ? "malformed SCRAM message (no channel binding in a -PLUS exchange)"
                          : "malformed SCRAM message (channel binding without -PLUS)");
  // A client that could bind and was told that we cannot: somebody changed our offer on its way.
  if (client_.binding == scram::Binding::unoffered && !channel_.empty())
    return ProtocolError{.sqlstate = "28000",
                         .message = "SCRAM channel binding negotiation error",
                         .message_type = 'p'};
  whole_nonce_ = client_.nonce + nonce_;
  server_first_ = scram::server_first(whole_nonce_, secret_.salt, secret_.iterations);
  return server_first_;
}

protocol::Result<ScramKey> ScramForClient::final(std::string_view message) {
  const auto parsed = scram::parse_client_final(message);
  if (!parsed) return parsed.error();
  const bool binds = client_.binding == scram::Binding::used;
  if (!same(parsed->channel, client_.gs2_header + (binds ? channel_ : std::string{})))
    return ProtocolError{
        .sqlstate = "28000", .message = "SCRAM channel binding check failed", .message_type = 'p'};
  if (!same(parsed->nonce, whole_nonce_)) return malformed("malformed SCRAM message (nonce)");
  proved_ = client_.bare + ',' + server_first_ + ',' + parsed->without_proof;
  const ScramKey signature = hmac_sha256(secret_.stored_key.view(), proved_);
  ScramKey client_key = differing(signature, parsed->proof);
  const bool good = same(sha256(client_key.view()).view(), secret_.stored_key.view());
  // Not before: what was made up takes as long as what is real.
  if (!good || !secret_.real) return failed();
  return client_key;
}

std::string ScramForClient::last() const {
  return "v=" + scram::to_base64(hmac_sha256(secret_.server_key.view(), proved_).view());
}

ScramForServer::ScramForServer(ScramKey client_key, ScramSecret secret, std::string channel,
                               bool tls, bool plus, std::string nonce)
    : client_key_(client_key),
      secret_(std::move(secret)),
      channel_(plus ? std::move(channel) : std::string{}),
      gs2_header_(!channel_.empty() ? "p=tls-server-end-point,,"
                  : tls && !plus    ? "y,,"
                                    : "n,,"),
      nonce_(std::move(nonce)) {}

std::string_view ScramForServer::mechanism() const noexcept {
  return channel_.empty() ? scram::plain : scram::bound;
}

std::string ScramForServer::first() const {
  return gs2_header_ + "n=,r=" + nonce_;
}

protocol::Result<std::string> ScramForServer::final(std::string_view server_first) {
  const auto parsed = scram::parse_server_first(server_first);
  if (!parsed) return parsed.error();
  if (!parsed->nonce.starts_with(nonce_) || parsed->nonce.size() == nonce_.size())
    return malformed("the server's nonce does not go on from ours");
  const std::string without_proof =
      "c=" + scram::to_base64(gs2_header_ + channel_) + ",r=" + parsed->nonce;
  proved_ = "n=,r=" + nonce_ + ',' + std::string{server_first} + ',' + without_proof;
  const ScramKey signature = hmac_sha256(secret_.stored_key.view(), proved_);
  const ScramKey proof = differing(signature, client_key_.view());
  return without_proof + ",p=" + scram::to_base64(proof.view());
}

bool ScramForServer::verify(std::string_view server_final) const {
  const auto signature = scram::parse_server_final(server_final);
  return signature && !proved_.empty() &&
         same(*signature, hmac_sha256(secret_.server_key.view(), proved_).view());
}

}  // namespace pgleash::proxy
