#pragma once

#include "protocol/types.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>

#include <array>
#include <chrono>
#include <functional>
#include <string>

namespace pgleash::app {

/// Tells when the text of a file has changed. It watches the file's directory, by inotify: editors
/// replace a file by a rename, and Kubernetes turns a symbolic link beside it. One call for a burst
/// of events, and none when the text is the same as before. Control thread.
class ConfigWatch {
 public:
  /// So long nothing may happen before the file counts as written.
  static constexpr Duration calm = std::chrono::milliseconds{250};

  /// Throws std::system_error when the directory cannot be watched.
  ConfigWatch(boost::asio::io_context& context, std::string file, std::function<void()> changed);
  /// No call after this one. Its handlers may still be queued, so it lives as long as the context.
  void stop();

 private:
  void wait();
  void look();
  [[nodiscard]] std::string text() const;

  std::string file_;
  std::function<void()> changed_;
  boost::asio::posix::stream_descriptor events_;
  boost::asio::steady_timer calm_;
  std::array<char, 4096> buffer_{};
  std::string text_;  ///< as it was last seen
  bool stopped_ = false;
};

}  // namespace pgleash::app
