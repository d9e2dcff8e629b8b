#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>

struct ssl_st;

/// Scripted peers: real sockets that say and expect exactly what a test tells them to. All calls
/// block, each with a deadline, and throw ScriptFailure when the script is not followed; any
/// thread, one at a time for each object.
namespace pgleash::test {

using namespace std::chrono_literals;

class ScriptFailure : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// How the other side's stream stands, seen without waiting.
enum class StreamEnd : std::uint8_t { open, closed, reset };

/// How a scripted peer speaks TLS.
struct ScriptedTls {
  std::string cert_file = {};  ///< as a server always
  std::string key_file = {};
  std::string ca_file = {};    ///< the peer's certificate is a must, and must be signed by it
  std::string protocol = {};   ///< ALPN, as a client
  bool names_protocol = true;  ///< as a server: takes the first that the client offers
  bool only_1_2 = false;
};

/// One end of a connection. Closes with the object.
class ScriptedPeer {
 public:
  static constexpr std::chrono::nanoseconds patience = 10s;

  ScriptedPeer() = default;
  explicit ScriptedPeer(int fd);
  ScriptedPeer(ScriptedPeer&& other) noexcept;
  ScriptedPeer& operator=(ScriptedPeer&& other) noexcept;
  ScriptedPeer(const ScriptedPeer&) = delete;
  ScriptedPeer& operator=(const ScriptedPeer&) = delete;
  ~ScriptedPeer();

  static ScriptedPeer connect_tcp(std::uint16_t port);
  static ScriptedPeer connect_unix(const std::string& path);

  /// All of the bytes are in the kernel's hands on return.
  void send(std::string_view bytes);
  /// As much as fits now.
  std::size_t send_some(std::string_view bytes);
  /// Exactly `size` bytes.
  std::string read(std::size_t size);
  /// Exactly these bytes; the failure shows what came instead.
  void expect(std::string_view bytes);
  /// One typed message, header and body.
  std::string read_message();
  /// All up to the peer's FIN.
  std::string read_to_end();
  /// At least one byte, at most `size`; empty at the peer's FIN.
  std::size_t read_some(char* buffer, std::size_t size);
  /// The peer's FIN, and nothing before it.
  void expect_end();
  /// A reset; whatever comes before it is dropped.
  void expect_reset();
  /// Bytes that can be read now, without waiting.
  [[nodiscard]] std::size_t unread() const;
  [[nodiscard]] bool silent() const { return unread() == 0 && end() == StreamEnd::open; }
  [[nodiscard]] StreamEnd end() const;
  [[nodiscard]] bool open() const noexcept { return fd_ >= 0; }
  [[nodiscard]] std::uint16_t local_port() const;

  /// From here on everything goes through TLS; returns when the handshake is done.
  void connect_tls(const ScriptedTls& how = {}) { start_tls(false, how); }
  void accept_tls(const ScriptedTls& how) { start_tls(true, how); }
  /// TLS 1.3: new keys of ours, and a demand for new ones of the peer's.
  void update_keys();
  /// Common name of the peer's certificate; empty: it has shown none.
  [[nodiscard]] std::string shown_certificate() const;
  /// The peer's close_notify was seen.
  [[nodiscard]] bool closed_in_order() const;
  /// Past TLS, to its socket.
  void send_clear(std::string_view bytes);
  /// Sends close_notify.
  void say_goodbye();

  void small_receive_buffer();
  void half_close();
  void close();
  void reset();

 private:
  void wait(short events, std::string_view what) const;
  void start_tls(bool as_server, const ScriptedTls& how);
  void finish_handshake();
  void set_blocking(bool blocking) const;
  std::size_t send_sealed(std::string_view bytes);
  std::size_t read_sealed(char* buffer, std::size_t size);
  [[nodiscard]] std::size_t unread_behind_tls() const;

  int fd_ = -1;
  std::shared_ptr<ssl_st> tls_;  ///< null: in clear
};

/// A CancelRequest as the server got it, with the connection it came by still open.
struct CancelArrived {
  std::int32_t pid = 0;
  std::string secret;
  ScriptedPeer connection;
};

/// A server's listening socket. What connects waits in the kernel until the script takes it.
class ScriptedBackend {
 public:
  /// On a free port of the loopback address.
  ScriptedBackend();
  /// On the socket a server with this port would have in `directory`.
  ScriptedBackend(const std::string& directory, std::uint16_t port);
  ScriptedBackend(const ScriptedBackend&) = delete;
  ScriptedBackend& operator=(const ScriptedBackend&) = delete;
  ~ScriptedBackend();

  [[nodiscard]] std::uint16_t port() const noexcept { return port_; }
  ScriptedPeer accept();
  CancelArrived accept_cancel();
  /// True when a connection waits to be accepted.
  [[nodiscard]] bool called(std::chrono::nanoseconds within = 0ns) const;
  [[nodiscard]] unsigned accepted() const noexcept { return accepted_; }
  /// From now on connections are refused.
  void stop();

 private:
  int fd_ = -1;
  std::uint16_t port_ = 0;
  std::string path_;
  unsigned accepted_ = 0;
};

/// The fields of an ErrorResponse as they came, by their one-letter name: "S=FATAL C=57P01 M=…".
[[nodiscard]] std::string error_field(std::string_view message, char field);

}  // namespace pgleash::test
