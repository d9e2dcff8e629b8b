#include "tests/support/certificates.hpp"

#include "tests/support/process.hpp"

#include <cerrno>
#include <fstream>
#include <pwd.h>
#include <stdexcept>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>
#include <vector>

namespace pgleash::test {
namespace {

void openssl(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), "openssl");
  const Finished done = run({.argv = std::move(arguments), .environment = {}, .user = {}});
  if (done.status != 0) throw std::runtime_error{"openssl: " + done.err};
}

}  // namespace

Certificates::Certificates() : ca_{directory_ / "ca.crt", directory_ / "ca.key"} {
  if (::chmod(directory_.path().c_str(), 0711) != 0)
    throw std::system_error{errno, std::generic_category(), "chmod"};
  openssl({"req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
           "-keyout", ca_.key, "-out", ca_.cert, "-days", "30", "-subj", "/CN=test CA"});
}

CertificateFiles Certificates::issue(const std::string& name, const std::string& hosts) const {
  CertificateFiles files{directory_ / (name + ".crt"), directory_ / (name + ".key")};
  openssl({"req",
           "-x509",
           "-newkey",
           "ec",
           "-pkeyopt",
           "ec_paramgen_curve:P-256",
           "-nodes",
           "-keyout",
           files.key,
           "-out",
           files.cert,
           "-days",
           "30",
           "-subj",
           "/O=tests/CN=" + name,
           "-CA",
           ca_.cert,
           "-CAkey",
           ca_.key,
           "-addext",
           "subjectAltName=" + hosts,
           "-addext",
           "basicConstraints=CA:FALSE"});
  if (::chmod(files.key.c_str(), 0600) != 0)
    throw std::system_error{errno, std::generic_category(), "chmod"};
  return files;
}

std::string Certificates::revoke(const CertificateFiles& certificate) const {
  const std::string config = directory_ / "ca.conf";
  std::ofstream{directory_ / "index.txt"};
  std::ofstream{config} << "[ca]\ndefault_ca=own\n[own]\ndatabase=" << directory_ / "index.txt"
                        << "\ndefault_md=sha256\ndefault_crl_days=30\n";
  const std::string list = directory_ / "revoked.crl";
  const std::vector<std::string> common{"ca",     "-config",  config, "-cert",
                                        ca_.cert, "-keyfile", ca_.key};
  auto revoke = common;
  revoke.insert(revoke.end(), {"-revoke", certificate.cert});
  openssl(revoke);
  auto list_all = common;
  list_all.insert(list_all.end(), {"-gencrl", "-out", list});
  openssl(list_all);
  return list;
}

void Certificates::give_to_server(const CertificateFiles& files) {
  if (::geteuid() != 0) return;
  const passwd* user = ::getpwnam("postgres");
  if (user == nullptr || ::chown(files.key.c_str(), user->pw_uid, user->pw_gid) != 0)
    throw std::system_error{errno, std::generic_category(), "chown " + files.key};
}

}  // namespace pgleash::test
