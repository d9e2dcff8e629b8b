#include "app/log.hpp"

#include <boost/json/serialize.hpp>
#include <boost/json/string.hpp>
#include <fmt/format.h>
#include <spdlog/async.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <chrono>
#include <ctime>
#include <unistd.h>

namespace pgleash::app {
namespace {

constexpr std::size_t queued_lines = 8192;

std::string_view name(Level level) {
  switch (level) {
    case Level::info:
      return "info";
    case Level::warning:
      return "warning";
    case Level::error:
      return "error";
  }
  return "?";
}

std::string timestamp() {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  tm utc{};
  ::gmtime_r(&now.tv_sec, &utc);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z", utc.tm_year + 1900,
                     utc.tm_mon + 1, utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec,
                     now.tv_nsec / 1'000'000);
}

std::string quoted(std::string_view text) {
  return boost::json::serialize(boost::json::string_view{text.data(), text.size()});
}

bool needs_quotes(std::string_view text) {
  if (text.empty()) return true;
  for (const char c : text)
    if (static_cast<unsigned char>(c) <= ' ' || c == '"' || c == '=' || c == 0x7f) return true;
  return false;
}

}  // namespace

Field::Field(std::string_view field, double seconds)
    : key(field), value(fmt::format("{:.3f}", seconds)), bare(true) {}

Log::Log(config::LogFormat format)
    : json_(format == config::LogFormat::json ||
            (format == config::LogFormat::automatic && ::isatty(STDERR_FILENO) == 0)) {
  spdlog::init_thread_pool(queued_lines, 1);
  logger_ = std::make_shared<spdlog::async_logger>(
      "pgleash", std::make_shared<spdlog::sinks::stderr_sink_mt>(), spdlog::thread_pool(),
      spdlog::async_overflow_policy::overrun_oldest);
  logger_->set_pattern("%v");
  logger_->flush_on(spdlog::level::info);
}

Log::~Log() {
  // Its thread writes what is queued and ends; only then does nobody use the sink any more.
  spdlog::shutdown();
  logger_.reset();
}

void Log::tell_lost() {
  const std::uint64_t lost = spdlog::thread_pool()->overrun_counter();
  const std::uint64_t told = told_lost_.exchange(lost);
  if (lost > told) write(Level::warning, "log.lines_lost", {{"lost", lost - told}});
}

void Log::write(Level level, std::string_view event, const std::vector<Field>& fields) {
  fmt::memory_buffer line;
  auto out = std::back_inserter(line);
  if (json_) {
    fmt::format_to(out, R"({{"ts":"{}","level":"{}","event":"{}")", timestamp(), name(level),
                   event);
    for (const Field& field : fields)
      fmt::format_to(out, R"(,"{}":{})", field.key, field.bare ? field.value : quoted(field.value));
    line.push_back('}');
  } else {
    fmt::format_to(out, "{} {:<7} {}", timestamp(), name(level), event);
    for (const Field& field : fields)
      fmt::format_to(out, " {}={}", field.key,
                     needs_quotes(field.value) ? quoted(field.value) : field.value);
  }
  logger_->log(level == Level::info      ? spdlog::level::info
               : level == Level::warning ? spdlog::level::warn
                                         : spdlog::level::err,
               std::string_view{line.data(), line.size()});
}

}  // namespace pgleash::app
