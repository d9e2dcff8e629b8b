#pragma once

#include <fcntl.h>
#include <sched.h>
#include <stdexcept>
#include <string>
#include <unistd.h>

namespace pgleash::test {

/// A network namespace of this test's own, with a cable to it. Needs CAP_NET_ADMIN and ip(8).
class Cable {
 public:
  Cable();
  ~Cable();
  Cable(const Cable&) = delete;
  Cable& operator=(const Cable&) = delete;

  /// False: that cannot be had here.
  [[nodiscard]] bool made() const noexcept { return made_; }
  [[nodiscard]] const std::string& here() const noexcept { return here_; }
  [[nodiscard]] const std::string& there() const noexcept { return there_; }
  /// Both addresses, as pg_hba.conf wants them.
  [[nodiscard]] const std::string& network() const noexcept { return network_; }

  /// Unplugged: the kernel knows that the address cannot be reached.
  void cut() const;
  /// What either end sends gets lost, and nobody is told: as when a machine loses its power, or a
  /// firewall its table.
  void swallow() const;
  /// As it was.
  void mend() const;
  /// What this thread opens and starts meanwhile lives at the other end.
  template <class Do>
  void at_the_other_end(Do&& act) const {
    const int other = ::open(("/run/netns/" + name_).c_str(), O_RDONLY | O_CLOEXEC);
    if (other < 0 || ::setns(other, CLONE_NEWNET) != 0) throw std::runtime_error{"cannot go there"};
    struct Return {
      int home;
      int other;
      ~Return() {
        ::setns(home, CLONE_NEWNET);
        ::close(other);
      }
    } const back{home_, other};
    act();
  }

 private:
  std::string name_;
  std::string here_;
  std::string there_;
  std::string network_;
  int home_ = -1;
  bool made_ = false;
};

}  // namespace pgleash::test
