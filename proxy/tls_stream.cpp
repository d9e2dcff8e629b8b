#include "proxy/tls_stream.hpp"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>

#include <algorithm>
#include <cerrno>
#include <limits>
#include <new>
#include <sys/socket.h>

namespace pgleash::proxy {
namespace {

/// Records that are none of the reader's business (key updates, tickets), in one call: who sends
/// more of them waits for its turn.
constexpr int records_per_read = 16;

/// Ciphertext on its way out. Holds nothing between two calls that anybody would miss.
std::vector<std::byte>& outbox() noexcept {
  thread_local std::vector<std::byte> bytes;
  return bytes;
}

}  // namespace

const int TlsStream::protocol_error = EPROTO;

struct TlsStream::Bio {
  static TlsStream& stream_of(BIO* bio) { return *static_cast<TlsStream*>(BIO_get_data(bio)); }

  static int read(BIO* bio, char* into, int room) {
    BIO_clear_retry_flags(bio);
    TlsStream& stream = stream_of(bio);
    ssize_t got = -1;
    if (!stream.dry_ && stream.errno_ == 0) {
      do {
        got = ::recv(stream.socket_, into, static_cast<std::size_t>(room), MSG_DONTWAIT);
      } while (got < 0 && errno == EINTR);
      if (got > 0) {
        stream.dry_ = got < room && !stream.hangup_;
        return static_cast<int>(got);
      }
      stream.eof_ = got == 0;
      if (stream.eof_) return 0;
      if (errno != EAGAIN && errno != EWOULDBLOCK) {
        stream.errno_ = errno;
        return -1;
      }
      stream.dry_ = true;
    }
    if (stream.errno_ != 0) return -1;
    stream.starved_ = true;
    BIO_set_retry_read(bio);
    return -1;
  }

  static int write(BIO* /*bio*/, const char* bytes, int size) {
    const auto* from = reinterpret_cast<const std::byte*>(bytes);
    outbox().insert(outbox().end(), from, from + size);
    return size;
  }

  static long control(BIO* bio, int command, long /*number*/, void* /*pointer*/) {
    switch (command) {
      case BIO_CTRL_FLUSH:
      case BIO_CTRL_DUP:
        return 1;
      case BIO_CTRL_EOF:
        return stream_of(bio).eof_ ? 1 : 0;
      default:
        return 0;
    }
  }

  static const BIO_METHOD* method() {
    static BIO_METHOD* const made = [] {
      BIO_METHOD* fresh = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "pgleash");
      if (fresh == nullptr) throw std::bad_alloc{};
      BIO_meth_set_read(fresh, &Bio::read);
      BIO_meth_set_write(fresh, &Bio::write);
      BIO_meth_set_ctrl(fresh, &Bio::control);
      return fresh;
    }();
    return made;
  }
};

void TlsStream::Free::operator()(ssl_st* ssl) const noexcept {
  SSL_free(ssl);
}

TlsStream::TlsStream(ssl_ctx_st* context, int socket, TlsRole role)
    : ssl_(SSL_new(context)), socket_(socket) {
  BIO* bio = ssl_ ? BIO_new(Bio::method()) : nullptr;
  if (bio == nullptr) throw std::bad_alloc{};
  BIO_set_data(bio, this);
  BIO_set_init(bio, 1);
  SSL_set_bio(ssl_.get(), bio, bio);
  if (role == TlsRole::server) {
    SSL_set_accept_state(ssl_.get());
  } else {
    SSL_set_connect_state(ssl_.get());
  }
}

TlsStream::~TlsStream() = default;

TlsStream::Step TlsStream::step_of(int result) {
  switch (SSL_get_error(ssl_.get(), result)) {
    case SSL_ERROR_WANT_READ:
      return starved_ ? Step::want_read : Step::more;
    case SSL_ERROR_ZERO_RETURN:
      return Step::ended;
    default:
      failure_ = ERR_peek_last_error();
      return Step::failed;
  }
}

TlsStream::Result TlsStream::handshake() {
  outbox().clear();
  ERR_clear_error();
  starved_ = false;
  const int result = SSL_do_handshake(ssl_.get());
  if (result == 1) return {Step::done, 0};
  const Step step = step_of(result);
  // An end of file in the middle of it is no orderly end.
  if (step == Step::ended) return {Step::failed, 0};
  return {step, 0};
}

TlsStream::Result TlsStream::read(std::byte* into, std::size_t room) {
  outbox().clear();
  ERR_clear_error();
  std::size_t have = 0;
  for (int others = 0; have < room && others < records_per_read;) {
    std::size_t got = 0;
    starved_ = false;
    const int result = SSL_read_ex(ssl_.get(), into + have, room - have, &got);
    if (result == 1) {
      have += got;
      continue;
    }
    const Step step = step_of(result);
    if (step == Step::more) {
      ++others;
      continue;
    }
    // What came before goes first; the next call finds the end, or the failure, again.
    if (step != Step::want_read && have > 0) return {Step::done, have};
    return {step, have};
  }
  return {have > 0 ? Step::done : Step::more, have};
}

protocol::Bytes TlsStream::seal(protocol::Bytes plain) {
  outbox().clear();
  ERR_clear_error();
  while (!plain.empty()) {
    std::size_t taken = 0;
    if (SSL_write_ex(ssl_.get(), plain.data(), plain.size(), &taken) != 1) {
      failure_ = ERR_peek_last_error();
      outbox().clear();
      break;
    }
    plain = plain.subspan(taken);
  }
  return output();
}

protocol::Bytes TlsStream::close_notify() {
  outbox().clear();
  ERR_clear_error();
  if (failure_ == 0) (void)SSL_shutdown(ssl_.get());
  return output();
}

protocol::Bytes TlsStream::output() noexcept {
  return outbox();
}

bool TlsStream::buffered() const noexcept {
  return !starved_ && SSL_has_pending(ssl_.get()) == 1;
}

std::string TlsStream::reason() const {
  if (errno_ != 0) return std::generic_category().message(errno_);
  if (eof_) return "the peer closed the connection";
  const char* text = failure_ != 0 ? ERR_reason_error_string(failure_) : nullptr;
  std::string all = text != nullptr ? text : "TLS failed";
  const long verified = SSL_get_verify_result(ssl_.get());
  if (verified != X509_V_OK) all += std::string{": "} + X509_verify_cert_error_string(verified);
  return all;
}

std::string_view TlsStream::version() const noexcept {
  return SSL_get_version(ssl_.get());
}

std::string_view TlsStream::cipher() const noexcept {
  const char* text = SSL_get_cipher_name(ssl_.get());
  return text != nullptr ? text : std::string_view{};
}

std::string TlsStream::peer_name() const {
  X509* certificate = SSL_get0_peer_certificate(ssl_.get());
  if (certificate == nullptr) return {};
  const std::unique_ptr<BIO, decltype(&BIO_free)> text{BIO_new(BIO_s_mem()), &BIO_free};
  if (!text) return {};
  X509_NAME_print_ex(text.get(), X509_get_subject_name(certificate), 0,
                     XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB);
  char* bytes = nullptr;
  const long size = BIO_get_mem_data(text.get(), &bytes);
  return {bytes, static_cast<std::size_t>(std::max(0L, size))};
}

std::string_view TlsStream::application_protocol() const noexcept {
  const unsigned char* name = nullptr;
  unsigned size = 0;
  SSL_get0_alpn_selected(ssl_.get(), &name, &size);
  return {reinterpret_cast<const char*>(name), size};
}

}  // namespace pgleash::proxy
