#pragma once

#include "config/config.hpp"
#include "proxy/counters.hpp"
#include "proxy/journal_record.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace pgleash::proxy {

/// Where the journal is kept; empty: nowhere. "auto" is a file in the folder that systemd gives a
/// service for its state ($STATE_DIRECTORY), and nothing elsewhere.
[[nodiscard]] std::string journal_path(const config::Process& process);

/// How the journal fares, for metrics and pages.
struct JournalState {
  bool up = false;
  std::string problem;  ///< why it is not up although it should be; empty: up, or off
  std::uint64_t unrecorded = 0;
};

/// The server legs of this run in a memory-mapped file, which survives SIGKILL: the next run learns
/// from it which backends were ours. Its lock, held while we live, is what tells a run that still
/// lives from one that is dead.
///
/// Each worker has a region of slots that it alone writes, without lock, allocation or system call;
/// the control thread writes the proofs and the inherited records. What does not fit is counted.
/// The disk blocks are allocated when it is opened, so a full disk is an error then and never
/// later. Outlives the workers.
class Journal final : public LegJournal {
 public:
  /// Records older than this are dropped when a journal is taken over: their server is no longer
  /// configured.
  static constexpr std::chrono::hours keep_for{24 * 30};

  /// Takes the file over, or makes it, 0600. Null, and `problem` says why, when it cannot be had: a
  /// live pgleash holds it, it is no journal, the disk is full.
  [[nodiscard]] static std::unique_ptr<Journal> open(const std::string& path, unsigned workers,
                                                     std::uint32_t max_sessions,
                                                     std::chrono::system_clock::time_point now,
                                                     std::string& problem);
  ~Journal() override;
  Journal(const Journal&) = delete;
  Journal& operator=(const Journal&) = delete;

  // On the worker's thread.
  /// The slot of a session whose backend is known now; -1 when the region is full.
  [[nodiscard]] std::int32_t begin(unsigned worker, SessionId session, const SessionIdentity& who,
                                   protocol::BackendPid pid) noexcept;
  /// The server's end of file was seen: its process is on its way out.
  void free(std::int32_t slot) noexcept;
  /// We closed the leg and nobody knows what became of the backend. The slot is used again when
  /// there is no other.
  void close(std::int32_t slot) noexcept;

  // On the control thread.
  void complete(std::int32_t slot, SessionId session, const BackendProof& proof) noexcept override;
  [[nodiscard]] const std::vector<LegRecord>& inherited() const noexcept override {
    return inherited_;
  }
  void settle(std::size_t inherited) noexcept override;

  /// Sessions that found no slot. Any thread.
  [[nodiscard]] std::uint64_t unrecorded() const noexcept;

 private:
  /// A worker's slots: those never used from `fresh` on, the free ones as a stack, the closed ones
  /// as a queue.
  struct Region {
    std::uint32_t first = 0;
    std::uint32_t fresh = 0;
    std::uint32_t end = 0;
    std::vector<std::uint32_t> free;    ///< capacity for all, reserved at the start
    std::vector<std::uint32_t> closed;  ///< a ring of that size
    std::size_t oldest = 0;
    std::size_t closed_count = 0;
    Count unrecorded;
  };
  struct Mapping;

  Journal(std::unique_ptr<Mapping> mapping, std::uint64_t incarnation, unsigned workers,
          std::uint32_t region_size, std::vector<LegRecord> inherited);
  [[nodiscard]] Record record(std::size_t slot) noexcept;
  [[nodiscard]] Region& region_of(std::uint32_t slot) noexcept;

  std::unique_ptr<Mapping> mapping_;
  std::uint64_t incarnation_;
  std::uint32_t region_size_;
  std::vector<std::unique_ptr<Region>> regions_;
  std::size_t first_inherited_;
  std::vector<LegRecord> inherited_;
};

}  // namespace pgleash::proxy
