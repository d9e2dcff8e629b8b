#include "app/watch/terminal.hpp"

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <string_view>
#include <sys/ioctl.h>
#include <unistd.h>

namespace pgleash::app {
namespace {

// Other screen, no cursor, no wrapping at the edge; and back.
constexpr std::string_view enter = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J";
constexpr std::string_view leave = "\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l";
constexpr int deadly[] = {SIGABRT, SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGQUIT};

// What a signal handler may touch.
termios saved{};                // NOLINT(cppcoreguidelines-avoid-non-const-global-variables)
volatile sig_atomic_t raw = 0;  // NOLINT(cppcoreguidelines-avoid-non-const-global-variables)

void write_all(std::string_view text) noexcept {
  while (!text.empty()) {
    const ssize_t wrote = ::write(STDOUT_FILENO, text.data(), text.size());
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote <= 0) return;
    text.remove_prefix(static_cast<std::size_t>(wrote));
  }
}

void restore() noexcept {
  if (raw == 0) return;
  raw = 0;
  write_all(leave);
  ::tcsetattr(STDIN_FILENO, TCSANOW, &saved);
}

extern "C" void restore_and_die(int signal) {
  restore();
  std::signal(signal, SIG_DFL);
  ::raise(signal);
}

}  // namespace

bool Terminal::available() noexcept {
  const char* term = std::getenv("TERM");
  return ::isatty(STDIN_FILENO) != 0 && ::isatty(STDOUT_FILENO) != 0 && term != nullptr &&
         std::string_view{term} != "dumb" && *term != '\0';
}

Terminal::Terminal() {
  ::tcgetattr(STDIN_FILENO, &before_);
  saved = before_;
  raw = 1;
  for (const int signal : deadly) std::signal(signal, restore_and_die);
  termios keys = before_;
  keys.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
  keys.c_cc[VMIN] = 1;
  keys.c_cc[VTIME] = 0;
  ::tcsetattr(STDIN_FILENO, TCSANOW, &keys);
  write_all(enter);
}

Terminal::~Terminal() {
  restore();
  for (const int signal : deadly) std::signal(signal, SIG_DFL);
}

Terminal::Size Terminal::size() noexcept {
  winsize window{};
  Size size;
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &window) != 0) return size;
  if (window.ws_col > 0) size.columns = window.ws_col;
  if (window.ws_row > 0) size.lines = window.ws_row;
  return size;
}

void Terminal::draw(const std::vector<std::string>& lines) {
  std::string frame = "\x1b[H";
  for (std::size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) frame += "\r\n";
    frame += lines[i] + "\x1b[K";
  }
  frame += "\x1b[J";
  write_all(frame);
}

}  // namespace pgleash::app
