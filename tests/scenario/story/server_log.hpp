#pragma once

#include <cstdlib>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <vector>

namespace pgleash::test {

/// What the server itself says of statements that carry a number, as "/*17*/SELECT 1": which
/// session ran them, and which it gave up. Reads its log with log_line_prefix '%c %q%a ' and
/// log_statement 'all'; %c is the server's own id of a session, never used twice.
class ServerLog {
 public:
  static constexpr const char* prefix = "log_line_prefix = '%c %q%a '";

  struct Ended {
    long number;  ///< of the statement that ran
    std::string session;
  };

  explicit ServerLog(const std::string& text) {
    std::istringstream lines{text};
    std::string in_session;
    enum class Told { nothing, cancel, copy_failure } told = Told::nothing;
    for (std::string line; std::getline(lines, line);) {
      const std::string session = line.substr(0, line.find(' '));
      const auto has = [&](const char* words) { return line.find(words) != std::string::npos; };
      if (has("LOG:  statement: ") || has("LOG:  execute ")) {
        if (const long number = number_in(line); number > 0) {
          session_of[number] = session;
          last_of[session] = number;
        }
      } else if (has("ERROR:  canceling statement due to user request")) {
        told = Told::cancel, in_session = session;
      } else if (has("ERROR:  COPY from stdin failed: ")) {
        told = Told::copy_failure, in_session = session;
      } else if (has("FATAL:  terminating connection due to administrator command")) {
        terminated.insert(session);
      } else if (has("STATEMENT:  ") && session == in_session) {
        if (told == Told::cancel) cancelled.push_back({number_in(line), session});
        if (told == Told::copy_failure) copies_failed.push_back({number_in(line), session});
        told = Told::nothing, in_session.clear();
      }
    }
  }

  /// The number that a statement carries; 0 when it has none.
  static long number_in(const std::string& text) {
    const auto at = text.find("/*");
    return at == std::string::npos ? 0 : std::atol(text.c_str() + at + 2);
  }

  std::map<long, std::string> session_of;
  std::map<std::string, long> last_of;  ///< number of a session's last statement
  std::vector<Ended> cancelled;
  std::vector<Ended> copies_failed;
  std::set<std::string> terminated;  ///< sessions that pg_terminate_backend ended
};

}  // namespace pgleash::test
