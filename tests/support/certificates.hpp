#pragma once

#include "tests/support/temp_dir.hpp"

#include <string>

namespace pgleash::test {

/// A certificate and its key, as PEM files.
struct CertificateFiles {
  std::string cert;
  std::string key;
};

/// A CA of this test's own and what it signs, made by the `openssl` command.
class Certificates {
 public:
  Certificates();

  [[nodiscard]] const std::string& ca() const noexcept { return ca_.cert; }
  /// Another key at each call, into the same files when the name is the same. `hosts`: whom it is
  /// for, as OpenSSL writes subjectAltName.
  CertificateFiles issue(const std::string& name,
                         const std::string& hosts = "DNS:localhost,IP:127.0.0.1") const;
  /// The list of revoked certificates, with this one on it.
  std::string revoke(const CertificateFiles& certificate) const;
  /// Hands a pair to the user that PostgreSQL runs as.
  static void give_to_server(const CertificateFiles& files);
  [[nodiscard]] std::string path(const std::string& name) const { return directory_ / name; }

 private:
  TempDir directory_;
  CertificateFiles ca_;
};

}  // namespace pgleash::test
