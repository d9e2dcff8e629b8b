#pragma once

#include "protocol/error.hpp"
#include "protocol/scram.hpp"

#include <array>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

/// Both halves of a SCRAM-SHA-256 login that pgleash takes part in itself: it verifies the client
/// with the role's secret, learns the ClientKey from the client's proof, and proves the role to the
/// server with that. The password is never known. Messages in, messages out, no I/O; keys are
/// compared in constant time and wiped when they go. Source: RFC 5802 section 3.
namespace pgleash::proxy {

/// Bytes that are wiped with the object.
class ScramKey {
 public:
  ScramKey() = default;
  explicit ScramKey(std::string_view bytes) noexcept;
  ~ScramKey();
  ScramKey(const ScramKey&) = default;
  ScramKey& operator=(const ScramKey&) = default;
  [[nodiscard]] std::string_view view() const noexcept {
    return {reinterpret_cast<const char*>(bytes_.data()), bytes_.size()};
  }
  [[nodiscard]] unsigned char* data() noexcept { return bytes_.data(); }

 private:
  std::array<unsigned char, protocol::scram::key_size> bytes_{};
};

[[nodiscard]] ScramKey hmac_sha256(std::string_view key, std::string_view text);
[[nodiscard]] ScramKey sha256(std::string_view text);
/// A nonce as PostgreSQL makes it: 18 random bytes, as 24 characters.
[[nodiscard]] std::string scram_nonce();

/// What a role's login rests on. Of a role that may not log in so, or does not exist, it is made
/// up: the same messages, with a salt that stays the same for the same name, and no proof that
/// fits.
struct ScramSecret {
  bool real = false;
  std::uint32_t iterations = 4096;
  std::string salt;
  ScramKey stored_key;
  ScramKey server_key;

  [[nodiscard]] static ScramSecret of(const protocol::scram::Verifier& verifier);
  /// `seed`: random, of this process.
  [[nodiscard]] static ScramSecret mock(std::string_view user, std::string_view seed);
};

/// The server's half, towards the client.
class ScramForClient {
 public:
  /// `channel`: what a client that binds has to have seen, tls-server-end-point; empty: it comes in
  /// clear, and nothing is offered.
  ScramForClient(ScramSecret secret, std::string channel, std::string nonce);

  /// The server's first message. An error has the SQLSTATE that PostgreSQL would send.
  [[nodiscard]] protocol::Result<std::string> first(std::string_view mechanism,
                                                    std::string_view message);
  /// The ClientKey, once the proof is good; 28P01 when it is not.
  [[nodiscard]] protocol::Result<ScramKey> final(std::string_view message);
  /// The server's last message; once final() was good.
  [[nodiscard]] std::string last() const;
  [[nodiscard]] const ScramSecret& secret() const noexcept { return secret_; }

 private:
  ScramSecret secret_;
  std::string channel_;
  std::string nonce_;
  protocol::scram::ClientFirst client_;
  std::string whole_nonce_;
  std::string server_first_;
  std::string proved_;  ///< AuthMessage
};

/// The client's half, towards the server.
class ScramForServer {
 public:
  /// `channel` as above, of the server's certificate; empty: it binds to none. `plus`: the server
  /// offers to.
  ScramForServer(ScramKey client_key, ScramSecret secret, std::string channel, bool tls, bool plus,
                 std::string nonce);

  [[nodiscard]] std::string_view mechanism() const noexcept;
  [[nodiscard]] std::string first() const;
  [[nodiscard]] protocol::Result<std::string> final(std::string_view server_first);
  /// Whether the server knows the role's secret too.
  [[nodiscard]] bool verify(std::string_view server_final) const;

 private:
  ScramKey client_key_;
  ScramSecret secret_;
  std::string channel_;
  std::string gs2_header_;
  std::string nonce_;
  std::string proved_;
};

}  // namespace pgleash::proxy
