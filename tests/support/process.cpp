#include "tests/support/process.hpp"

#include "tests/support/wait_until.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <fcntl.h>
#include <fstream>
#include <grp.h>
#include <iterator>
#include <pwd.h>
#include <stdexcept>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <system_error>
#include <unistd.h>

namespace pgleash::test {
namespace {

[[noreturn]] void fail(const std::string& what) {
  throw std::system_error{errno, std::generic_category(), what};
}

/// Looked up before the fork: behind it only async-signal-safe calls are allowed.
struct Account {
  uid_t uid = 0;
  gid_t gid = 0;
  std::vector<gid_t> groups;
};

std::optional<Account> account_of(const std::string& user) {
  if (user.empty() || ::geteuid() != 0) return std::nullopt;
  const passwd* entry = ::getpwnam(user.c_str());
  if (entry == nullptr) throw std::runtime_error{"no such user: " + user};
  Account account{entry->pw_uid, entry->pw_gid, std::vector<gid_t>(64)};
  int count = 64;
  if (::getgrouplist(user.c_str(), account.gid, account.groups.data(), &count) < 0) count = 0;
  account.groups.resize(static_cast<std::size_t>(count));
  return account;
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> all;
  for (auto& text : texts) all.push_back(text.data());
  all.push_back(nullptr);
  return all;
}

struct ChildPlan {
  char* const* argv;
  char* const* envp;
  const Account* account;
  const char* out;
  const char* err;
  int death_signal;
  pid_t parent;
};

[[noreturn]] void become(const ChildPlan& plan) {
  const int null = ::open("/dev/null", O_RDONLY);
  const int out = ::open(plan.out, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0600);
  const int err = ::open(plan.err, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0600);
  if (null < 0 || out < 0 || err < 0) ::_exit(126);
  ::dup2(null, 0);
  ::dup2(out, 1);
  ::dup2(err, 2);
  if (plan.account != nullptr &&
      (::setgroups(plan.account->groups.size(), plan.account->groups.data()) != 0 ||
       ::setgid(plan.account->gid) != 0 || ::setuid(plan.account->uid) != 0 ||
       ::chdir("/") != 0)) {  // ours may be nobody else's to enter: a checkout under /root
    ::_exit(126);
  }
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  // Behind setuid, which clears it. The parent may have died before it was set.
  ::prctl(PR_SET_PDEATHSIG, plan.death_signal);
  if (::getppid() != plan.parent) ::_exit(126);
  ::execvpe(plan.argv[0], plan.argv, plan.envp);
  ::_exit(127);
}

std::string contents(const std::string& file) {
  std::ifstream in{file, std::ios::binary};
  return {std::istreambuf_iterator<char>{in}, {}};
}

}  // namespace

Process::Process(Command command) {
  const auto account = account_of(command.user);
  for (char** entry = ::environ; *entry != nullptr; ++entry)
    command.environment.emplace_back(*entry);
  const auto argv = pointers(command.argv);
  const auto envp = pointers(command.environment);  // ours first: getenv takes the first that fits
  const auto out = output_ / "out";
  const auto err = output_ / "err";
  const ChildPlan plan{argv.data(), envp.data(), account ? &*account : nullptr,
                       out.c_str(), err.c_str(), command.death_signal,
                       ::getpid()};
  pid_ = ::fork();
  if (pid_ < 0) fail("fork");
  if (pid_ == 0) become(plan);
}

Process::~Process() {
  if (!running()) return;
  signal(SIGKILL);
  (void)wait(std::chrono::seconds{10});
}

bool Process::running() {
  if (status_) return false;
  int raw = 0;
  const auto ended = ::waitpid(pid_, &raw, WNOHANG);
  if (ended == 0) return true;
  if (ended < 0) fail("waitpid");
  status_ = WIFEXITED(raw) ? WEXITSTATUS(raw) : 128 + WTERMSIG(raw);
  return false;
}

void Process::signal(int number) const {
  if (!status_) ::kill(pid_, number);
}

std::optional<int> Process::wait(std::chrono::nanoseconds patience) {
  (void)wait_until([this] { return !running(); }, patience);
  return status_;
}

int Process::terminate(std::chrono::nanoseconds patience) {
  signal(SIGTERM);
  if (const auto status = wait(patience)) return *status;
  signal(SIGKILL);
  return wait(std::chrono::seconds{10}).value_or(-1);
}

std::string Process::out() const {
  return contents(output_ / "out");
}
std::string Process::err() const {
  return contents(output_ / "err");
}

Finished run(Command command, std::chrono::nanoseconds patience) {
  const auto name = command.argv.front();
  Process process{std::move(command)};
  const auto status = process.wait(patience);
  if (!status)
    throw std::runtime_error{fmt::format("{} did not end in time\n{}", name, process.err())};
  return {*status, process.out(), process.err()};
}

}  // namespace pgleash::test
