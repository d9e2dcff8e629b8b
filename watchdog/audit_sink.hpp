#pragma once

#include "config/config.hpp"
#include "watchdog/audit_record.hpp"

#include <atomic>
#include <memory>
#include <string>
#include <string_view>
#include <sys/types.h>
#include <vector>

namespace pgleash::watchdog {

/// Where the lines go, and the end of their chain. Blocks: belongs to the audit thread.
class AuditSink {
 public:
  /// Null, and `problem` says why. An existing file's chain is taken up where it ends; a torn end
  /// is repaired. The file is created 0600, never through a symbolic link, and is locked against a
  /// second writer.
  static std::unique_ptr<AuditSink> open(const config::Audit& settings, std::string& problem);
  ~AuditSink();
  AuditSink(const AuditSink&) = delete;
  AuditSink& operator=(const AuditSink&) = delete;

  /// All of them, synced, or none: after a failure the file ends where it ended before.
  bool append(const std::vector<const AuditRecord*>& records);
  /// Goes on in the file that now has our name; with the old one when that cannot be opened.
  bool reopen();
  /// The one call that other threads may make.
  void set_statement_text(config::StatementTextPolicy policy) noexcept { policy_.store(policy); }

 private:
  AuditSink(const config::Audit& settings, int fd);

  [[nodiscard]] bool is_file() const noexcept { return settings_.sink == config::AuditSink::file; }
  bool take_up();
  bool repair();
  bool write_synced(std::string_view bytes);
  bool write_all(std::string_view bytes) const;

  config::Audit settings_;
  std::atomic<config::StatementTextPolicy> policy_;
  int fd_;
  std::string last_;   ///< hash of the last line
  bool torn_ = false;  ///< what a failed write left behind could not be taken back
};

}  // namespace pgleash::watchdog
