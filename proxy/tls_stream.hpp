#pragma once

#include "protocol/types.hpp"

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

struct ssl_st;
struct ssl_ctx_st;
struct bio_st;

namespace pgleash::proxy {

/// Which end of a TLS connection we are.
enum class TlsRole : std::uint8_t { server, client };

/// TLS over one non-blocking socket. Reads from it directly; what is to be written is sealed into a
/// buffer that all streams of a thread share, and handed out: whoever calls sends it, or keeps it
/// as he keeps any bytes that do not fit into a socket. So a write never has to be repeated with
/// the same arguments, never wants to read, and no write buffer belongs to a stream. Between two
/// calls it holds no buffer but for a record that came in part. Stays where it is made (OpenSSL
/// points to it); one thread at a time. Source: "Secure TCP/IP Connections with SSL";
/// SSL_CTX_set_mode(3), SSL_read(3), SSL_get_error(3).
class TlsStream {
 public:
  enum class Step : std::uint8_t {
    done,       ///< handshake over; read: some bytes, and there may be more at once
    want_read,  ///< the socket has nothing more for now; read: what there was is handed out
    more,       ///< nothing for the reader, but there may be more at once
    ended,      ///< close_notify, or the peer's end of file
    failed,     ///< see error() and reason(); nothing but output() may be called after it
  };
  struct Result {
    Step step = Step::failed;
    std::size_t size = 0;
  };

  /// Does not own the socket. Throws std::bad_alloc.
  TlsStream(ssl_ctx_st* context, int socket, TlsRole role);
  ~TlsStream();
  TlsStream(const TlsStream&) = delete;
  TlsStream& operator=(const TlsStream&) = delete;

  /// Until it is `done`: send output(), wait for the socket when it is `want_read`.
  Result handshake();
  /// As much as there is, up to `room`, from as many records as it takes. The peer may have asked
  /// for something: send output().
  Result read(std::byte* into, std::size_t room);
  /// Plain bytes as they are to be sent; empty when the stream cannot any more.
  [[nodiscard]] protocol::Bytes seal(protocol::Bytes plain);
  /// The last record of ours. May be empty.
  [[nodiscard]] protocol::Bytes close_notify();
  /// What the last call wants sent. Valid until the next call on any stream of this thread.
  [[nodiscard]] static protocol::Bytes output() noexcept;

  /// There may be something to read again. After a hang-up a short read proves nothing.
  void wake(bool hangup) noexcept {
    dry_ = false;
    hangup_ = hangup;
  }
  /// Nothing more is read from the socket: the next reads find it broken (EPROTO).
  void give_up() noexcept { errno_ = protocol_error; }
  /// Whether whole records may be left that came from the socket and were not handed out. Half a
  /// record is as if it were still under way.
  [[nodiscard]] bool buffered() const noexcept;

  /// errno of what failed; EPROTO when it was TLS itself.
  [[nodiscard]] int error() const noexcept { return errno_ != 0 ? errno_ : protocol_error; }
  /// It failed because the peer closed or reset the connection, and not over a word of it.
  [[nodiscard]] bool hung_up() const noexcept {
    return eof_ || (errno_ != 0 && errno_ != protocol_error);
  }
  /// Why it failed, for people: "certificate verify failed: self-signed certificate".
  [[nodiscard]] std::string reason() const;
  /// "TLSv1.3"; lives for ever.
  [[nodiscard]] std::string_view version() const noexcept;
  /// "TLS_AES_256_GCM_SHA384"; lives for ever.
  [[nodiscard]] std::string_view cipher() const noexcept;
  /// The peer's certificate by its subject, as RFC 2253 writes it; empty when it has shown none.
  [[nodiscard]] std::string peer_name() const;
  /// The protocol both sides chose (ALPN); empty: none.
  [[nodiscard]] std::string_view application_protocol() const noexcept;
  [[nodiscard]] ssl_st* ssl() const noexcept { return ssl_.get(); }

 private:
  static const int protocol_error;

  struct Free {
    void operator()(ssl_st* ssl) const noexcept;
  };
  struct Bio;  ///< OpenSSL's callbacks
  friend struct Bio;

  /// What OpenSSL says of a call that gave nothing.
  Step step_of(int result);

  std::unique_ptr<ssl_st, Free> ssl_;
  int socket_;
  int errno_ = 0;
  unsigned long failure_ = 0;  ///< OpenSSL's code of it
  bool dry_ = false;    ///< a short read has shown that the socket is empty: no use in asking again
  bool hangup_ = true;  ///< until the relay takes it, every read asks the socket
  bool starved_ = false;  ///< the last read ended because the socket had nothing more
  bool eof_ = false;
};

}  // namespace pgleash::proxy
