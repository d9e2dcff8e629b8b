#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace pgleash::watchdog {

/// The audit log's lines form a chain: each names the SHA-256 of the line before it, so that a line
/// which was changed, removed or put in shows. The chain goes on across restarts, and across
/// rotation: a new file's first line names the last line of the file before. Whoever wants proof
/// against a rewritten end keeps the last hash elsewhere.
///
/// A crash may tear the last line. The next start ends it with a newline and writes a
/// `chain.repaired` line, whose `prev` is the hash of the torn line as it stands and whose
/// `resumes` is the hash of the last whole line.

/// `prev` of the very first line.
inline constexpr std::string_view chain_start =
    "0000000000000000000000000000000000000000000000000000000000000000";

/// In lower-case hexadecimal.
[[nodiscard]] std::string sha256(std::string_view text);

/// What verify() found.
struct ChainReport {
  bool intact = false;
  std::uint64_t lines = 0;     ///< read, up to the broken one
  std::uint64_t repaired = 0;  ///< torn lines that a restart accounted for
  std::optional<std::uint64_t>
      broken_line;   ///< the first one, from 1; absent when the file cannot be read
  std::string why;   ///< empty when intact
  std::string last;  ///< hash of the last line: the `expected` of the file that follows
};

/// Reads the whole file. `expected`: what the first line must name; absent, its word is taken (a
/// rotated file).
[[nodiscard]] ChainReport verify(const std::string& path,
                                 std::optional<std::string> expected = std::nullopt);

}  // namespace pgleash::watchdog
