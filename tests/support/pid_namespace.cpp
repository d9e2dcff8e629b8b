#include "tests/support/pid_namespace.hpp"

#include "tests/support/postgres.hpp"

#include <fmt/format.h>

#include <cstdlib>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <vector>

namespace pgleash::test {
namespace {

std::vector<pid_t> children(pid_t parent) {
  std::ifstream file{fmt::format("/proc/{0}/task/{0}/children", parent)};
  std::vector<pid_t> all;
  for (pid_t pid = 0; file >> pid;) all.push_back(pid);
  return all;
}

/// The pid of the process in the innermost namespace it is in.
pid_t innermost(pid_t process) {
  std::ifstream file{fmt::format("/proc/{}/status", process)};
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with("NSpid:")) continue;
    std::istringstream pids{line.substr(6)};
    pid_t last = 0;
    for (pid_t pid = 0; pids >> pid;) last = pid;
    return last;
  }
  return 0;
}

Finished in_namespace(pid_t first, const std::string& script) {
  return run({.argv = {"nsenter", "--target", std::to_string(first), "--pid", "--mount", "sh", "-c",
                       script},
              .environment = {},
              .user = {}});
}

}  // namespace

PidNamespace::PidNamespace(const Postgres& server) {
  for (const pid_t child : children(server.pid()))
    if (innermost(child) == 1) first_ = child;
  if (first_ == 0) throw std::runtime_error{"the server has no pids of its own"};
}

std::string PidNamespace::why_not() const {
  const auto done = in_namespace(
      first_,
      "last=$(cat /proc/sys/kernel/ns_last_pid) && echo $last >/proc/sys/kernel/ns_last_pid");
  return done.status == 0 ? std::string{} : "ns_last_pid: " + done.err;
}

void PidNamespace::next(pid_t inside) const {
  // `echo` is the shell's own: nothing is forked behind it.
  const auto done =
      in_namespace(first_, fmt::format("echo {} >/proc/sys/kernel/ns_last_pid", inside - 1));
  if (done.status != 0) throw std::runtime_error{"cannot choose the next pid: " + done.err};
}

pid_t PidNamespace::find(pid_t inside) const {
  for (const pid_t child : children(first_))
    if (innermost(child) == inside) return child;
  return 0;
}

pid_t PidNamespace::outside(pid_t inside) const {
  const pid_t found = find(inside);
  if (found == 0) throw std::runtime_error{fmt::format("no process {} inside", inside)};
  return found;
}

}  // namespace pgleash::test
