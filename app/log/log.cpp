#include "app/log/log.hpp"

#include "app/log/log_sink.hpp"

#include <boost/json/serialize.hpp>
#include <boost/json/string.hpp>
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <ctime>
#include <unistd.h>

namespace pgleash::app {
namespace {

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

/// "2026-11-26T11:57:42.072Z". Its second is told anew once a second.
void append_now(std::string& out) {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  thread_local time_t told = -1;
  thread_local std::string second;
  if (now.tv_sec != told) {
    tm utc{};
    ::gmtime_r(&now.tv_sec, &utc);
    second = fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.", utc.tm_year + 1900, utc.tm_mon + 1,
                         utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec);
    told = now.tv_sec;
  }
  const auto thousandths = static_cast<int>(now.tv_nsec / 1'000'000);
  out += second;
  for (const int unit : {100, 10, 1}) out += static_cast<char>('0' + thousandths / unit % 10);
  out += 'Z';
}

/// A character that JSON does not take as it is, or that is not ASCII.
bool needs_escape(char c) {
  const auto code = static_cast<unsigned char>(c);
  return code < ' ' || code >= 0x7f || c == '"' || c == '\\';
}

void append_quoted(std::string& out, std::string_view text) {
  if (std::ranges::any_of(text, needs_escape)) {
    out += boost::json::serialize(boost::json::string_view{text.data(), text.size()});
  } else {
    out.append(1, '"').append(text).append(1, '"');
  }
}

bool needs_quotes(std::string_view text) {
  return text.empty() || std::ranges::any_of(text, [](char c) {
           return static_cast<unsigned char>(c) <= ' ' || c == '"' || c == '=' || c == 0x7f;
         });
}

void append_json(std::string& out, Level level, std::string_view event,
                 const std::vector<Field>& fields) {
  out += R"({"ts":")";
  append_now(out);
  out.append(R"(","level":")").append(name(level)).append(R"(","event":")").append(event) += '"';
  for (const Field& field : fields) {
    out.append(R"(,")").append(field.key).append(R"(":)");
    if (field.bare) {
      out += field.value;
    } else {
      append_quoted(out, field.value);
    }
  }
  out += '}';
}

void append_text(std::string& out, Level level, std::string_view event,
                 const std::vector<Field>& fields) {
  constexpr std::size_t level_width = 7;
  append_now(out);
  out.append(1, ' ').append(name(level)).append(level_width - name(level).size() + 1, ' ');
  out += event;
  for (const Field& field : fields) {
    out.append(1, ' ').append(field.key).append(1, '=');
    if (needs_quotes(field.value)) {
      append_quoted(out, field.value);
    } else {
      out += field.value;
    }
  }
}

}  // namespace

Field::Field(std::string_view field, double seconds)
    : key(field), value(fmt::format("{:.3f}", seconds)), bare(true) {}

Log::Log(config::LogFormat format)
    : sink_(std::make_shared<LogSink>(STDERR_FILENO)),
      logger_(std::make_unique<spdlog::logger>("pgleash", sink_)),
      json_(format == config::LogFormat::json ||
            (format == config::LogFormat::automatic && ::isatty(STDERR_FILENO) == 0)) {
  logger_->set_pattern("%v");
}

Log::~Log() = default;

void Log::tell_lost() {
  const std::uint64_t lost = sink_->lost();
  const std::uint64_t told = told_lost_.exchange(lost);
  if (lost > told) write(Level::warning, "log.lines_lost", {{"lost", lost - told}});
}

void Log::write(Level level, std::string_view event, const std::vector<Field>& fields) {
  thread_local std::string line;
  line.clear();
  if (json_) {
    append_json(line, level, event, fields);
  } else {
    append_text(line, level, event, fields);
  }
  logger_->log(level == Level::info      ? spdlog::level::info
               : level == Level::warning ? spdlog::level::warn
                                         : spdlog::level::err,
               std::string_view{line});
}

}  // namespace pgleash::app
