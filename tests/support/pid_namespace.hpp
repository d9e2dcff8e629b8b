#pragma once

#include <string>
#include <sys/types.h>

namespace pgleash::test {

class Postgres;

/// The pids of a server with `pids_of_its_own`, seen and given from outside. Needs root. Source:
/// pid_namespaces(7), proc(5) on /proc/sys/kernel/ns_last_pid.
class PidNamespace {
 public:
  /// Throws when the server does not run in a namespace of its own.
  explicit PidNamespace(const Postgres& server);

  /// Why the next pid cannot be chosen here; empty when it can.
  [[nodiscard]] std::string why_not() const;
  /// The server's next process gets this pid, which must be free.
  void next(pid_t inside) const;
  /// What the host calls the process that has this pid inside. Throws when there is none.
  [[nodiscard]] pid_t outside(pid_t inside) const;
  [[nodiscard]] bool exists(pid_t inside) const { return find(inside) != 0; }

 private:
  [[nodiscard]] pid_t find(pid_t inside) const;

  pid_t first_ = 0;  ///< the namespace's first process, as the host calls it: the postmaster
};

}  // namespace pgleash::test
