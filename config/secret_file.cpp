#include "config/secret_file.hpp"

#include <cerrno>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>

namespace pgleash::config {

namespace {

std::optional<Fault> file_fault(const std::string& path, bool secret) {
  struct stat status {};
  if (stat(path.c_str(), &status) != 0) {
    return Fault{
        "cannot find " + in_quotes(path) + ": " + std::generic_category().message(errno),
        "relative paths are taken from the folder of the configuration file; on the command "
        "line, from the current one"};
  }
  if (!S_ISREG(status.st_mode)) return Fault{in_quotes(path) + " is not a plain file", {}};
  if (secret && (status.st_mode & (S_IROTH | S_IWOTH)) != 0) {
    return Fault{in_quotes(path) + " is open to everybody on this machine",
                 "chmod o-rwx it (its group may read); on a Kubernetes secret volume, set "
                 "defaultMode: 0440"};
  }
  if (access(path.c_str(), R_OK) != 0) {
    return Fault{"cannot read " + in_quotes(path) + ": " + std::generic_category().message(errno),
                 "give it to the user or group that pgleash runs as"};
  }
  if (status.st_size == 0) return Fault{in_quotes(path) + " is empty", {}};
  return std::nullopt;
}

}  // namespace

std::optional<Fault> secret_file_fault(const std::string& path) {
  return file_fault(path, true);
}

std::optional<Fault> readable_file_fault(const std::string& path) {
  return file_fault(path, false);
}

}  // namespace pgleash::config
