#include "config/server_words.hpp"

#include "config/address.hpp"
#include "config/libpq_words.hpp"
#include "config/nearest.hpp"
#include "config/secret_file.hpp"
#include "config/words.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <string>
#include <utility>
#include <variant>

namespace pgleash::config {

namespace {

constexpr std::string_view example = "host=db1 port=5432 sslmode=verify-full sslrootcert=ca.crt";

/// libpq writes "TLSv1.2"; it knows older ones, which pgleash does not speak.
constexpr std::array protocol_words{Word<TlsVersion>{"TLSv1.2", TlsVersion::v1_2},
                                    Word<TlsVersion>{"TLSv1.3", TlsVersion::v1_3}};
constexpr std::array<std::string_view, 9> known_words{
    "host",   "port",    "sslmode", "sslnegotiation",          "sslrootcert",
    "sslcrl", "sslcert", "sslkey",  "ssl_min_protocol_version"};
constexpr std::array<std::string_view, 6> sessions_words{"user",     "dbname",  "password",
                                                         "passfile", "options", "application_name"};

bool is_url(std::string_view text) noexcept {
  return text.starts_with("postgres://") || text.starts_with("postgresql://");
}

/// Without a host of its own: then a word has to name one.
bool names_nobody(std::string_view url) noexcept {
  const std::string_view behind = url.substr(url.find("//") + 2);
  return behind.empty() || behind == "/";
}

/// Collects the words of one server.
class Reading {
 public:
  Reading(Server& server, std::vector<Fault>& faults) : server_(server), faults_(faults) {}

  void words(Parsed<LibpqWords> parsed) {
    if (auto* fault = std::get_if<Fault>(&parsed)) return fail(std::move(*fault));
    for (const auto& [word, value] : std::get<LibpqWords>(parsed)) set(word, value);
    // As libpq 16: whoever trusts all the world's CAs has to look at the name.
    if (server_.tls.ca_file == "system" && !has_mode_) server_.tls.mode = SslMode::verify_full;
  }

  void address(Parsed<Address> parsed) {
    if (auto* fault = std::get_if<Fault>(&parsed)) return fail(std::move(*fault));
    server_.address = std::move(std::get<Address>(parsed));
    has_host_ = true;
  }

  /// What does not go together, in libpq's words.
  void finish() {
    if (!has_host_ && faults_.empty())
      fail({"the server's address names no host", "write " + std::string{example}});
    if (!faults_.empty()) return;
    const ServerTls& tls = server_.tls;
    const std::string mode{word_for(ssl_mode_words, tls.mode)};
    const bool verifies = tls.mode >= SslMode::verify_ca;
    if (verifies && tls.ca_file.empty())
      fail({"sslmode=" + mode + " has no certificate to verify the server's with",
            "add sslrootcert=ca.crt, or sslrootcert=system for the CAs this machine trusts"});
    if (tls.ca_file == "system" && !verifies)
      fail({"weak sslmode \"" + mode + "\" may not be used with sslrootcert=system",
            "use \"verify-full\""});
    if (tls.negotiation == TlsNegotiation::direct && tls.mode < SslMode::require)
      fail({"weak sslmode \"" + mode + "\" may not be used with sslnegotiation=direct",
            "use \"require\", \"verify-ca\", or \"verify-full\""});
    if (tls.cert_file.empty() != tls.key_file.empty())
      fail({"a certificate without its key, or the other way round",
            "write both sslcert and sslkey"});
    if (!tls.crl_file.empty() && tls.ca_file.empty())
      fail({"sslcrl without a CA to check any certificate with", "add sslrootcert=ca.crt"});
  }

 private:
  void fail(Fault fault) { faults_.push_back(std::move(fault)); }

  void set(const std::string& word, const std::string& value) {
    if (std::ranges::find(known_words, word) != known_words.end() && value.empty())
      return fail({'\'' + word + "' has no value", "leave it out for the default"});
    if (word == "host") {
      host(value);
    } else if (word == "port") {
      port(value);
    } else if (word == "sslmode") {
      has_mode_ = true;
      choose(word, value, ssl_mode_words, server_.tls.mode);
    } else if (word == "sslnegotiation") {
      choose(word, value, tls_negotiation_words, server_.tls.negotiation);
    } else if (word == "ssl_min_protocol_version") {
      choose(word, value, protocol_words, server_.tls.min_version);
    } else if (word == "sslrootcert") {
      if (value == "system") {
        server_.tls.ca_file = value;
      } else {
        file(value, readable_file_fault(value), server_.tls.ca_file);
      }
    } else if (word == "sslcrl") {
      file(value, readable_file_fault(value), server_.tls.crl_file);
    } else if (word == "sslcert") {
      file(value, readable_file_fault(value), server_.tls.cert_file);
    } else if (word == "sslkey") {
      file(value, secret_file_fault(value), server_.tls.key_file);
    } else if (std::ranges::find(sessions_words, word) != sessions_words.end()) {
      fail({'\'' + word + "' is not the server's to have",
            "applications bring their own user, database and password; the monitor's stand in "
            "--monitor"});
    } else {
      const auto meant = nearest(word, known_words);
      fail({"unknown word '" + word + '\'', meant ? "did you mean '" + std::string{*meant} + "'?"
                                                  : "known here: " + listed(known_words)});
    }
  }

  void host(const std::string& value) {
    if (value.find('@') != std::string::npos)  // a password may stand before it
      return fail({"'host' has a user in it", "write the host's name or address only"});
    auto parsed = parse_host(value);
    if (auto* fault = std::get_if<Fault>(&parsed)) return fail(std::move(*fault));
    server_.address.host = std::move(std::get<std::string>(parsed));
    server_.address.is_unix = server_.address.host.starts_with('/');
    has_host_ = true;
  }

  void port(const std::string& value) {
    const char* end = value.data() + value.size();
    std::uint16_t number = 0;
    const auto parsed = std::from_chars(value.data(), end, number);
    if (parsed.ec != std::errc{} || parsed.ptr != end || number == 0)
      return fail({in_quotes(value) + " is not a port", "a port is a number from 1 to 65535"});
    server_.address.port = number;
  }

  template <typename Choice, std::size_t Count>
  void choose(const std::string& word, const std::string& value,
              const std::array<Word<Choice>, Count>& choices, Choice& target) {
    const auto found = std::ranges::find(choices, value, &Word<Choice>::text);
    if (found != choices.end()) {
      target = found->value;
      return;
    }
    std::array<std::string_view, Count> texts;
    std::ranges::transform(choices, texts.begin(), &Word<Choice>::text);
    fail({in_quotes(value) + " is no " + word, "write " + listed(texts)});
  }

  void file(const std::string& path, std::optional<Fault> fault, std::string& target) {
    target = path;
    if (fault) fail(std::move(*fault));
  }

  Server& server_;
  std::vector<Fault>& faults_;
  bool has_host_ = false;
  bool has_mode_ = false;
};

}  // namespace

Server read_server_words(std::string_view text, std::vector<Fault>& faults) {
  Server server;
  server.name = "main";
  server.address.port = default_server_port;
  Reading reading{server, faults};
  if (is_url(text)) {
    const auto query = text.find('?');
    const std::string_view address = text.substr(0, query);
    const bool has_words = query != std::string_view::npos;
    if (!has_words || !names_nobody(address)) reading.address(parse_server_address(address));
    if (has_words) reading.words(parse_url_words(text.substr(query + 1), example));
  } else if (!text.starts_with('/') && text.find('=') != std::string_view::npos) {
    reading.words(parse_libpq_words(text, example));
  } else {
    reading.address(parse_server_address(text));
  }
  reading.finish();
  return server;
}

}  // namespace pgleash::config
