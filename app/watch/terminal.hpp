#pragma once

#include <cstddef>
#include <string>
#include <termios.h>
#include <vector>

namespace pgleash::app {

/// The terminal while a table is drawn on it: the other screen, no cursor, keys as they are
/// pressed. All is put back when the object goes, and when a signal or an abort ends the program
/// before. One at a time.
class Terminal {
 public:
  /// Whether standard input and output are a terminal that can be drawn on (TERM is not "dumb").
  [[nodiscard]] static bool available() noexcept;
  Terminal();
  ~Terminal();
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;

  struct Size {
    std::size_t columns = 80;
    std::size_t lines = 24;
  };
  [[nodiscard]] static Size size() noexcept;
  /// Draws over what was there, without flicker; what is left of it is wiped.
  void draw(const std::vector<std::string>& lines);

 private:
  termios before_{};
};

}  // namespace pgleash::app
