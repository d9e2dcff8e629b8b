#include "app/config_watch.hpp"

#include <boost/asio/buffer.hpp>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sys/inotify.h>
#include <system_error>
#include <unistd.h>
#include <utility>

namespace pgleash::app {

namespace {

int watch_directory_of(const std::string& file) {
  const int fd = ::inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
  std::filesystem::path directory = std::filesystem::path{file}.parent_path();
  if (directory.empty()) directory = ".";
  const std::uint32_t events = IN_CLOSE_WRITE | IN_MOVED_TO | IN_CREATE;
  if (fd < 0 || ::inotify_add_watch(fd, directory.c_str(), events) < 0) {
    const int error = errno;
    if (fd >= 0) ::close(fd);
    throw std::system_error(error, std::generic_category(),
                            "cannot watch " + directory.string() + " (watch_config)");
  }
  return fd;
}

}  // namespace

ConfigWatch::ConfigWatch(boost::asio::io_context& context, std::string file,
                         std::function<void()> changed)
    : file_(std::move(file)),
      changed_(std::move(changed)),
      events_(context, watch_directory_of(file_)),
      calm_(context),
      text_(text()) {
  wait();
}

void ConfigWatch::wait() {
  events_.async_read_some(boost::asio::buffer(buffer_),
                          [this](const boost::system::error_code& error, std::size_t) {
                            if (error || stopped_) return;
                            // What happened to whom does not matter: the text decides.
                            calm_.expires_after(calm);
                            calm_.async_wait([this](const boost::system::error_code& cut_short) {
                              if (!cut_short) look();
                            });
                            wait();
                          });
}

void ConfigWatch::stop() {
  stopped_ = true;
  events_.cancel();
  calm_.cancel();
}

void ConfigWatch::look() {
  if (stopped_) return;
  std::string now = text();
  if (now.empty() || now == text_) return;  // between two steps of a replacement it is not there
  text_ = std::move(now);
  changed_();
}

std::string ConfigWatch::text() const {
  std::ifstream in{file_, std::ios::binary};
  return {std::istreambuf_iterator<char>{in}, {}};
}

}  // namespace pgleash::app
