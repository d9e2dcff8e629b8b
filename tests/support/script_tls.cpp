#include "tests/support/script.hpp"

#include <openssl/err.h>
#include <openssl/ssl.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <memory>
#include <poll.h>
#include <sys/socket.h>

// The part of a scripted peer that speaks TLS: by OpenSSL's own socket BIO, another way than the
// proxy's.
namespace pgleash::test {
namespace {

struct Free {
  void operator()(SSL_CTX* context) const noexcept { SSL_CTX_free(context); }
};

[[noreturn]] void fail(const std::string& what) {
  const unsigned long why = ERR_peek_last_error();
  const char* text = why != 0 ? ERR_reason_error_string(why) : nullptr;
  throw ScriptFailure{what + ": " + (text != nullptr ? text : "connection lost")};
}

int accept_protocol(SSL*, const unsigned char** out, unsigned char* size,
                    const unsigned char* offered, unsigned, void*) {
  *out = offered + 1;
  *size = offered[0];
  return SSL_TLSEXT_ERR_OK;
}

}  // namespace

void ScriptedPeer::start_tls(bool as_server, const ScriptedTls& how) {
  ::signal(SIGPIPE, SIG_IGN);  // the socket BIO writes without MSG_NOSIGNAL
  const std::unique_ptr<SSL_CTX, Free> context{
      SSL_CTX_new(as_server ? TLS_server_method() : TLS_client_method())};
  if (how.only_1_2) SSL_CTX_set_max_proto_version(context.get(), TLS1_2_VERSION);
  if (!how.cert_file.empty() &&
      (SSL_CTX_use_certificate_chain_file(context.get(), how.cert_file.c_str()) != 1 ||
       SSL_CTX_use_PrivateKey_file(context.get(), how.key_file.c_str(), SSL_FILETYPE_PEM) != 1))
    fail("certificate");
  if (!how.ca_file.empty()) {
    SSL_CTX_load_verify_locations(context.get(), how.ca_file.c_str(), nullptr);
    SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  }
  if (as_server && how.names_protocol)
    SSL_CTX_set_alpn_select_cb(context.get(), &accept_protocol, nullptr);
  if (!how.protocol.empty()) {
    std::string named(1, static_cast<char>(how.protocol.size()));
    named += how.protocol;
    SSL_CTX_set_alpn_protos(context.get(), reinterpret_cast<const unsigned char*>(named.data()),
                            static_cast<unsigned>(named.size()));
  }
  SSL_CTX_set_options(context.get(), SSL_OP_IGNORE_UNEXPECTED_EOF);
  tls_ = std::shared_ptr<SSL>{SSL_new(context.get()), &SSL_free};
  SSL_set_fd(tls_.get(), fd_);
  as_server ? SSL_set_accept_state(tls_.get()) : SSL_set_connect_state(tls_.get());
  set_blocking(false);
  finish_handshake();
}

void ScriptedPeer::set_blocking(bool blocking) const {
  const int flags = ::fcntl(fd_, F_GETFL);
  ::fcntl(fd_, F_SETFL, blocking ? flags & ~O_NONBLOCK : flags | O_NONBLOCK);
}

void ScriptedPeer::finish_handshake() {
  for (;;) {
    ERR_clear_error();
    const int result = SSL_do_handshake(tls_.get());
    if (result == 1) return;
    switch (SSL_get_error(tls_.get(), result)) {
      case SSL_ERROR_WANT_READ:
        wait(POLLIN, "no handshake");
        break;
      case SSL_ERROR_WANT_WRITE:
        wait(POLLOUT, "no handshake");
        break;
      default:
        fail("handshake");
    }
  }
}

void ScriptedPeer::update_keys() {
  if (SSL_key_update(tls_.get(), SSL_KEY_UPDATE_REQUESTED) != 1) fail("key update");
  finish_handshake();
}

std::string ScriptedPeer::shown_certificate() const {
  X509* shown = SSL_get0_peer_certificate(tls_.get());
  if (shown == nullptr) return {};
  char name[256] = {};
  X509_NAME_get_text_by_NID(X509_get_subject_name(shown), NID_commonName, name, sizeof name);
  return name;
}

std::size_t ScriptedPeer::send_sealed(std::string_view bytes) {
  ERR_clear_error();
  SSL_set_mode(tls_.get(), SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  std::size_t sent = 0;
  const int result = SSL_write_ex(tls_.get(), bytes.data(), bytes.size(), &sent);
  if (result == 1) return sent;
  const int why = SSL_get_error(tls_.get(), result);
  if (why == SSL_ERROR_WANT_WRITE || why == SSL_ERROR_WANT_READ) return 0;
  fail("send");
}

std::size_t ScriptedPeer::read_sealed(char* buffer, std::size_t size) {
  for (;;) {
    ERR_clear_error();
    std::size_t got = 0;
    const int result = SSL_read_ex(tls_.get(), buffer, size, &got);
    if (result == 1) return got;
    switch (SSL_get_error(tls_.get(), result)) {
      case SSL_ERROR_ZERO_RETURN:
        return 0;
      case SSL_ERROR_WANT_READ:
        wait(POLLIN, "nothing came");
        break;
      case SSL_ERROR_SYSCALL:
        throw ScriptFailure{std::string{"read: "} + std::strerror(errno)};
      default:
        fail("read");
    }
  }
}

bool ScriptedPeer::closed_in_order() const {
  return (SSL_get_shutdown(tls_.get()) & SSL_RECEIVED_SHUTDOWN) != 0;
}

void ScriptedPeer::send_clear(std::string_view bytes) {
  if (::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(bytes.size()))
    throw ScriptFailure{"send in clear"};
}

void ScriptedPeer::say_goodbye() {
  (void)SSL_shutdown(tls_.get());
}

std::size_t ScriptedPeer::unread_behind_tls() const {
  return static_cast<std::size_t>(SSL_pending(tls_.get()));
}

}  // namespace pgleash::test
