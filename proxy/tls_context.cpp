#include "proxy/tls_context.hpp"

#include "proxy/clock.hpp"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/objects.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <arpa/inet.h>
#include <array>
#include <ctime>
#include <new>
#include <string_view>
#include <utility>

namespace pgleash::proxy {
namespace {

/// ALPN's name of the protocol, with its length in front.
constexpr std::array<unsigned char, 11> protocol_name{10,  'p', 'o', 's', 't', 'g',
                                                      'r', 'e', 's', 'q', 'l'};

struct FreeX509 {
  void operator()(X509* certificate) const noexcept { X509_free(certificate); }
};

/// Gathers what is wrong while a context is filled.
class Filling {
 public:
  Filling(ssl_ctx_st* context, std::vector<TlsFault>& faults)
      : context_(context), faults_(faults) {}

  [[nodiscard]] bool good() const noexcept { return good_; }

  void versions(config::TlsVersion min) {
    SSL_CTX_set_min_proto_version(
        context_, min == config::TlsVersion::v1_3 ? TLS1_3_VERSION : TLS1_2_VERSION);
  }

  void certificate(const std::string& cert_file, const std::string& key_file,
                   std::chrono::system_clock::time_point now) {
    ERR_clear_error();
    if (SSL_CTX_use_certificate_chain_file(context_, cert_file.c_str()) != 1) {
      error("tls_cert_file", cert_file + " holds no certificate",
            "write the file of a PEM chain, "
            "leaf first");
      return;
    }
    dates(now);
    // Nobody is there to type it.
    SSL_CTX_set_default_passwd_cb(context_, [](char*, int, int, void*) { return 0; });
    if (SSL_CTX_use_PrivateKey_file(context_, key_file.c_str(), SSL_FILETYPE_PEM) != 1) {
      const unsigned long why = ERR_peek_error();
      if (ERR_GET_LIB(why) == ERR_LIB_X509 && ERR_GET_REASON(why) == X509_R_KEY_VALUES_MISMATCH) {
        mismatch(cert_file, key_file);
      } else {
        error("tls_key_file", key_file + " holds no key that can be read",
              "a PEM file without a passphrase");
      }
    } else if (SSL_CTX_check_private_key(context_) != 1) {
      mismatch(cert_file, key_file);
    }
  }

  void authorities(const std::string& key, const std::string& file) {
    ERR_clear_error();
    const int found = file == "system"
                          ? SSL_CTX_set_default_verify_paths(context_)
                          : SSL_CTX_load_verify_locations(context_, file.c_str(), nullptr);
    if (found != 1) error(key, file + " holds no certificate", "write the PEM file of the CA");
  }

  void revoked(const std::string& key, const std::string& file) {
    if (file.empty()) return;
    X509_STORE* store = SSL_CTX_get_cert_store(context_);
    X509_LOOKUP* lookup = X509_STORE_add_lookup(store, X509_LOOKUP_file());
    if (lookup == nullptr || X509_load_crl_file(lookup, file.c_str(), X509_FILETYPE_PEM) <= 0) {
      error(key, file + " holds no list of revoked certificates", "a PEM file of the CA");
      return;
    }
    X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL);
  }

  void error(std::string key, std::string message, std::string hint) {
    good_ = false;
    faults_.push_back(
        {std::move(key), config::Severity::error, {std::move(message), std::move(hint)}});
  }

 private:
  void mismatch(const std::string& cert_file, const std::string& key_file) {
    error("tls_key_file", key_file + " is not the key of " + cert_file,
          "both must come from the same request");
  }

  void dates(std::chrono::system_clock::time_point now) {
    const X509* leaf = SSL_CTX_get0_certificate(context_);
    std::time_t at = std::chrono::system_clock::to_time_t(now);
    const auto warn = [&](std::string_view what, const ASN1_TIME* when, std::string hint) {
      std::tm date{};
      ASN1_TIME_to_tm(when, &date);
      std::array<char, 32> text{};
      std::strftime(text.data(), text.size(), "%Y-%m-%d %H:%M:%S UTC", &date);
      faults_.push_back({"tls_cert_file",
                         config::Severity::warning,
                         {std::string{what} + text.data(), std::move(hint)}});
    };
    if (X509_cmp_time(X509_get0_notAfter(leaf), &at) < 0)
      warn("the certificate has expired: ", X509_get0_notAfter(leaf),
           "who verifies it is turned away; renew it, and reload");
    if (X509_cmp_time(X509_get0_notBefore(leaf), &at) > 0)
      warn("the certificate is not valid yet: not before ", X509_get0_notBefore(leaf),
           "who verifies it is turned away until then");
  }

  ssl_ctx_st* context_;
  std::vector<TlsFault>& faults_;
  bool good_ = true;
};

SslContext plain_context(const SSL_METHOD* method) {
  SslContext made{SSL_CTX_new(method)};
  if (!made) throw std::bad_alloc{};
  SSL_CTX* context = made.get();
  SSL_CTX_set_options(context, SSL_OP_NO_TICKET | SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION |
                                   SSL_OP_IGNORE_UNEXPECTED_EOF);
  // A session of ours lives long and is never resumed: what it would take to do so is only memory.
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_num_tickets(context, 0);
  SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                                SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  // Records without bytes for us must not keep the thread in one call.
  SSL_CTX_clear_mode(context, SSL_MODE_AUTO_RETRY);
  SSL_CTX_set_read_ahead(context, 1);
  return made;
}

int choose_protocol(SSL* /*ssl*/, const unsigned char** out, unsigned char* size,
                    const unsigned char* offered, unsigned offered_size, void* /*nothing*/) {
  unsigned char* chosen = nullptr;
  const int found = SSL_select_next_proto(&chosen, size, protocol_name.data(), protocol_name.size(),
                                          offered, offered_size);
  *out = chosen;
  // As PostgreSQL: who offers other protocols only has come to the wrong place.
  return found == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

bool is_address(const std::string& host) {
  std::array<unsigned char, sizeof(in6_addr)> bytes{};
  return ::inet_pton(AF_INET, host.c_str(), bytes.data()) == 1 ||
         ::inet_pton(AF_INET6, host.c_str(), bytes.data()) == 1;
}

}  // namespace

void FreeSslContext::operator()(ssl_ctx_st* context) const noexcept {
  SSL_CTX_free(context);
}

std::unique_ptr<TlsStream> ListenerTlsContext::accept(int socket) const {
  return std::make_unique<TlsStream>(context.get(), socket, TlsRole::server);
}

bool ListenerTlsContext::same_certificate(const TlsStream& server) const noexcept {
  const X509* own = SSL_CTX_get0_certificate(context.get());
  const X509* theirs = SSL_get0_peer_certificate(server.ssl());
  return own != nullptr && theirs != nullptr && X509_cmp(own, theirs) == 0;
}

namespace {

/// MD5 and SHA-1 count as SHA-256.
std::string end_point(const X509* certificate) {
  int digest = NID_undef;
  if (certificate == nullptr ||
      OBJ_find_sigid_algs(X509_get_signature_nid(certificate), &digest, nullptr) != 1)
    return {};
  if (digest == NID_md5 || digest == NID_sha1) digest = NID_sha256;
  const EVP_MD* hash = EVP_get_digestbynid(digest);
  std::array<unsigned char, EVP_MAX_MD_SIZE> bytes{};
  unsigned size = 0;
  if (hash == nullptr || X509_digest(certificate, hash, bytes.data(), &size) != 1) return {};
  return {reinterpret_cast<const char*>(bytes.data()), size};
}

}  // namespace

std::string ListenerTlsContext::channel() const {
  return end_point(SSL_CTX_get0_certificate(context.get()));
}

std::string channel_of_peer(const TlsStream& stream) {
  return end_point(SSL_get0_peer_certificate(stream.ssl()));
}

std::unique_ptr<TlsStream> ServerTlsContext::connect(int socket) const {
  auto stream = std::make_unique<TlsStream>(context.get(), socket, TlsRole::client);
  SSL* ssl = stream->ssl();
  const bool address = is_address(host);
  if (!address) SSL_set_tlsext_host_name(ssl, host.c_str());
  if (settings.mode == config::SslMode::verify_full) {
    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    const int told = address ? X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host.c_str())
                             : SSL_set1_host(ssl, host.c_str());
    if (told != 1) throw std::bad_alloc{};
  }
  return stream;
}

std::shared_ptr<const ListenerTlsContext> make_listener_tls(
    const config::ListenerTls& settings, std::chrono::system_clock::time_point now,
    std::vector<TlsFault>& faults) {
  auto made = std::make_shared<ListenerTlsContext>();
  made->settings = settings;
  made->context = plain_context(TLS_server_method());
  SSL_CTX* context = made->context.get();
  Filling fill{context, faults};
  fill.versions(settings.min_version);
  SSL_CTX_set_options(context, SSL_OP_CIPHER_SERVER_PREFERENCE);
  SSL_CTX_set_dh_auto(context, 1);
  SSL_CTX_set_alpn_select_cb(context, &choose_protocol, nullptr);
  fill.certificate(settings.cert_file, settings.key_file, now);
  if (!settings.client_ca_file.empty()) {
    fill.authorities("tls_client_ca_file", settings.client_ca_file);
    fill.revoked("tls_client_crl_file", settings.client_crl_file);
    SSL_CTX_set_client_CA_list(context, SSL_load_client_CA_file(settings.client_ca_file.c_str()));
    const bool must = settings.client_cert == config::ClientCertificate::require;
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER | (must ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0),
                       nullptr);
  }
  ERR_clear_error();
  if (!fill.good()) return nullptr;
  return made;
}

std::shared_ptr<const ServerTlsContext> make_server_tls(const config::Server& server,
                                                        std::chrono::system_clock::time_point now,
                                                        std::vector<TlsFault>& faults) {
  const config::ServerTls& settings = server.tls;
  auto made = std::make_shared<ServerTlsContext>();
  made->settings = settings;
  made->host = server.address.host;
  made->context = plain_context(TLS_client_method());
  SSL_CTX* context = made->context.get();
  Filling fill{context, faults};
  fill.versions(settings.min_version);
  SSL_CTX_set_alpn_protos(context, protocol_name.data(), protocol_name.size());
  if (!settings.cert_file.empty()) fill.certificate(settings.cert_file, settings.key_file, now);
  // With a CA at hand even "require" checks the chain, as libpq does.
  const bool verify = settings.mode >= config::SslMode::require && !settings.ca_file.empty();
  if (verify) {
    fill.authorities("tls_ca_file", settings.ca_file);
    fill.revoked("tls_crl_file", settings.crl_file);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, nullptr);
  }
  ERR_clear_error();
  if (!fill.good()) return nullptr;
  return made;
}

namespace {

/// Of the status page. The client is a browser, the stream Asio's, which wants each read to go on
/// until there is something.
std::shared_ptr<ssl_ctx_st> make_page_tls(const config::Http& http,
                                          std::chrono::system_clock::time_point now,
                                          std::vector<TlsFault>& faults) {
  std::shared_ptr<ssl_ctx_st> made{plain_context(TLS_server_method())};
  Filling fill{made.get(), faults};
  fill.versions(config::TlsVersion::v1_2);
  SSL_CTX_set_options(made.get(), SSL_OP_CIPHER_SERVER_PREFERENCE);
  SSL_CTX_set_dh_auto(made.get(), 1);
  SSL_CTX_set_mode(made.get(), SSL_MODE_AUTO_RETRY);
  fill.certificate(http.tls_cert_file, http.tls_key_file, now);
  ERR_clear_error();
  return fill.good() ? made : nullptr;
}

}  // namespace

std::optional<TlsContexts> make_tls(const config::Config& config,
                                    const config::Provenance& provenance,
                                    std::vector<config::Diagnostic>& diagnostics) {
  TlsContexts made;
  bool good = true;
  const auto now = wall_now();
  const auto report = [&](const std::string& section, std::vector<TlsFault> faults) {
    for (TlsFault& one : faults) {
      config::SourcePosition position;
      if (const auto found = provenance.find(section + '.' + one.key); found != provenance.end())
        position = found->second;
      diagnostics.push_back({one.severity,
                             std::move(position),
                             std::move(one.fault.message),
                             std::move(one.fault.hint),
                             {}});
      good = good && one.severity != config::Severity::error;
    }
  };
  for (std::size_t i = 0; i < config.listeners.size(); ++i) {
    const config::ListenerTls& tls = config.listeners[i].tls;
    auto& context = made.listeners.emplace_back();
    if (tls.mode == config::ListenerTlsMode::off || tls.mode == config::ListenerTlsMode::opaque)
      continue;
    std::vector<TlsFault> faults;
    context = make_listener_tls(tls, now, faults);
    report("listener[" + std::to_string(i) + ']', std::move(faults));
  }
  for (std::size_t i = 0; i < config.servers.size(); ++i) {
    const config::Server& server = config.servers[i];
    auto& context = made.servers.emplace_back();
    if (server.tls.mode == config::SslMode::disable || server.address.is_unix) continue;
    std::vector<TlsFault> faults;
    context = make_server_tls(server, now, faults);
    report("server[" + std::to_string(i) + ']', std::move(faults));
  }
  if (config.http.listen && config.http.tls()) {
    std::vector<TlsFault> faults;
    made.page = make_page_tls(config.http, now, faults);
    report("http", std::move(faults));
  }
  if (!good) return std::nullopt;
  return made;
}

}  // namespace pgleash::proxy
