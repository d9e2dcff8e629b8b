#include "watchdog/audit_chain.hpp"

#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>
#include <fmt/format.h>
#include <openssl/evp.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>

namespace pgleash::watchdog {
namespace {

namespace json = boost::json;

/// What a line says of the chain.
struct Link {
  bool object = false;  ///< a JSON object, as each whole line is
  std::string event;
  std::string prev;
  std::string resumes;
};

std::string text_of(const json::object& object, json::string_view key) {
  const auto* value = object.if_contains(key);
  return value != nullptr && value->is_string() ? std::string{value->get_string()} : std::string{};
}

Link read_link(const std::string& line) {
  boost::system::error_code malformed;
  const auto value = json::parse(line, malformed);
  if (malformed || !value.is_object()) return {};
  const auto& object = value.get_object();
  return {true, text_of(object, "event"), text_of(object, "prev"), text_of(object, "resumes")};
}

/// Follows the chain line by line.
class Follower {
 public:
  explicit Follower(std::optional<std::string> expected) : expected_(std::move(expected)) {}

  /// False when the chain is broken at this line, or at the torn one before it.
  bool follow(const std::string& line) {
    ++report_.lines;
    const auto link = read_link(line);
    const auto hash = sha256(line);
    if (!torn_hash_.empty()) {
      if (link.event != "chain.repaired" || link.prev != torn_hash_ ||
          (expected_ && link.resumes != *expected_)) {
        return broken(report_.lines - 1, torn_why_);
      }
      torn_hash_.clear();
      ++report_.repaired;
    } else if (!link.object || (expected_ && link.prev != *expected_)) {
      torn_hash_ = hash;  // broken, unless the next line says that a crash tore it
      torn_why_ = link.object
                      ? "does not name the line before it: a line was changed, removed or put in"
                      : "is not a JSON object";
      return true;
    }
    expected_ = hash;
    return true;
  }

  ChainReport end(bool finished) {
    if (report_.broken_line) return report_;
    if (!torn_hash_.empty())
      broken(report_.lines, torn_why_);
    else if (!finished)
      broken(report_.lines, "is not finished");
    report_.intact = !report_.broken_line;
    report_.last = expected_.value_or(std::string{chain_start});
    return report_;
  }

 private:
  bool broken(std::uint64_t line, std::string_view why) {
    report_.broken_line = line;
    report_.why = fmt::format("line {} {}", line, why);
    return false;
  }

  std::optional<std::string> expected_;  ///< hash of the last whole line
  std::string torn_hash_;
  std::string torn_why_;
  ChainReport report_;
};

}  // namespace

std::string sha256(std::string_view text) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned length = 0;
  EVP_Digest(text.data(), text.size(), digest.data(), &length, EVP_sha256(), nullptr);
  std::string hex;
  for (unsigned i = 0; i < length; ++i) hex += fmt::format("{:02x}", digest[i]);
  return hex;
}

ChainReport verify(const std::string& path, std::optional<std::string> expected) {
  std::ifstream file{path, std::ios::binary};
  if (!file) {
    ChainReport report;
    report.why = fmt::format("cannot open \"{}\": {}", path, std::strerror(errno));
    return report;
  }
  Follower follower{std::move(expected)};
  bool finished = true;
  for (std::string line; std::getline(file, line);) {
    finished = !file.eof();  // getline stops at the end of the file only when no newline came first
    if (!follower.follow(line)) break;
  }
  return follower.end(finished);
}

}  // namespace pgleash::watchdog
