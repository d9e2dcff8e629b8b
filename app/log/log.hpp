#pragma once

#include "config/config.hpp"

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace spdlog {
class logger;
}

namespace pgleash::app {

class LogSink;

enum class Level : std::uint8_t { info, warning, error };

/// A field of a log line; numbers and booleans are written bare in JSON.
struct Field {
  Field(std::string_view field, std::string_view text) : key(field), value(text) {}
  Field(std::string_view field, const char* text) : key(field), value(text) {}
  Field(std::string_view field, const std::string& text) : key(field), value(text) {}
  Field(std::string_view field, bool yes) : key(field), value(yes ? "true" : "false"), bare(true) {}
  Field(std::string_view field, std::int64_t number)
      : key(field), value(std::to_string(number)), bare(true) {}
  Field(std::string_view field, std::uint64_t number)
      : key(field), value(std::to_string(number)), bare(true) {}
  Field(std::string_view field, std::int32_t number)
      : key(field), value(std::to_string(number)), bare(true) {}
  Field(std::string_view field, std::uint32_t number)
      : key(field), value(std::to_string(number)), bare(true) {}
  Field(std::string_view field, double seconds);

  std::string_view key;
  std::string value;
  bool bare = false;
};

/// The log: one line an event, `ts level event` and fields; JSON, or text for people. The event is
/// a fixed name. Any thread; the line is written by a thread of the log's own, and dropped (oldest
/// first) rather than waited for.
class Log {
 public:
  explicit Log(config::LogFormat format);
  ~Log();
  Log(const Log&) = delete;
  Log& operator=(const Log&) = delete;

  void write(Level level, std::string_view event, const std::vector<Field>& fields);
  /// Writes how many lines were dropped since it was said last, when there are any.
  void tell_lost();

 private:
  std::shared_ptr<LogSink> sink_;
  std::unique_ptr<spdlog::logger> logger_;
  bool json_;
  std::atomic<std::uint64_t> told_lost_ = 0;
};

}  // namespace pgleash::app
