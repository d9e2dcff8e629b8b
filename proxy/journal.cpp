#include "proxy/journal.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <random>
#include <string_view>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace pgleash::proxy {
namespace {

std::string why(const std::string& path, std::string_view what, int error) {
  return path + ": " + std::string{what} + ": " + std::strerror(error);
}

class File {
 public:
  explicit File(int fd) noexcept : fd_(fd) {}
  ~File() {
    if (fd_ >= 0) ::close(fd_);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  [[nodiscard]] int get() const noexcept { return fd_; }
  [[nodiscard]] int release() noexcept { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

/// Reads the whole file as it was left; empty and `problem` when it is no journal of ours.
std::optional<std::vector<std::byte>> contents(int fd, const std::string& path, off_t size,
                                               std::string& problem) {
  std::vector<std::byte> bytes(static_cast<std::size_t>(size));
  std::size_t have = 0;
  while (have < bytes.size()) {
    const ssize_t got =
        ::pread(fd, bytes.data() + have, bytes.size() - have, static_cast<off_t>(have));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) {
      problem = why(path, "cannot read it", got < 0 ? errno : EIO);
      return std::nullopt;
    }
    have += static_cast<std::size_t>(got);
  }
  const bool blank =
      std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b == std::byte{}; });
  if (blank) return std::vector<std::byte>{};  // made, and its maker died before the first byte
  if (bytes.size() < header_bytes ||
      !read_header(std::span<const std::byte>{bytes}.first<header_bytes>())) {
    problem = path + ": is no journal of this version of pgleash; name another file, or remove it";
    return std::nullopt;
  }
  return bytes;
}

std::vector<LegRecord> records_of(std::span<const std::byte> bytes, std::uint32_t oldest) {
  std::vector<LegRecord> records;
  for (std::size_t at = header_bytes; at + record_bytes <= bytes.size(); at += record_bytes) {
    auto record = read_record(bytes.subspan(at).first<record_bytes>());
    if (record && record->opened_at >= oldest) records.push_back(std::move(*record));
  }
  return records;
}

std::uint32_t unix_seconds(std::chrono::system_clock::time_point at) {
  return static_cast<std::uint32_t>(
      std::chrono::duration_cast<std::chrono::seconds>(at.time_since_epoch()).count());
}

std::uint64_t fresh_incarnation() {
  std::random_device random;
  return (std::uint64_t{random()} << 32U) | random();
}

}  // namespace

std::string journal_path(const config::Process& process) {
  if (process.journal == "off") return {};
  if (process.journal != "auto") return process.journal;
  const char* state = std::getenv("STATE_DIRECTORY");
  if (state == nullptr || *state == '\0') return {};
  const std::string_view folders{state};
  return std::string{folders.substr(0, folders.find(':'))} + "/sessions.journal";
}

/// The mapped file and its lock.
struct Journal::Mapping {
  int fd = -1;
  std::byte* data = nullptr;
  std::size_t size = 0;
  ~Mapping() {
    if (data != nullptr) ::munmap(data, size);
    if (fd >= 0) ::close(fd);
  }
};

std::unique_ptr<Journal> Journal::open(const std::string& path, unsigned workers,
                                       std::uint32_t max_sessions,
                                       std::chrono::system_clock::time_point now,
                                       std::string& problem) {
  File file{::open(path.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600)};
  if (file.get() < 0) {
    problem = why(path, "cannot open it", errno);
    return nullptr;
  }
  struct stat about {};
  if (::fstat(file.get(), &about) != 0 || !S_ISREG(about.st_mode) || about.st_nlink != 1 ||
      about.st_uid != ::geteuid() || (about.st_mode & 0077U) != 0) {
    problem = path + ": must be a file of our own that nobody else may read or write (0600)";
    return nullptr;
  }
  if (::flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
    problem =
        errno == EWOULDBLOCK
            ? path + ": another pgleash that runs now holds it; give each a journal of its own"
            : why(path, "cannot lock it", errno);
    return nullptr;
  }
  const auto before = contents(file.get(), path, about.st_size, problem);
  if (!before) return nullptr;
  const std::uint32_t today = unix_seconds(now);
  const auto age = static_cast<std::uint32_t>(std::chrono::seconds{keep_for}.count());
  std::vector<LegRecord> inherited = records_of(*before, today > age ? today - age : 0);

  // Sessions are spread evenly when they come, not when they go: room for twice a fair share.
  const std::uint32_t fair = max_sessions / std::max(1U, workers);
  const std::uint32_t region = std::min(max_sessions, 2 * fair + 256);
  const std::size_t slots = std::size_t{workers} * region + inherited.size();
  const std::size_t size = header_bytes + slots * record_bytes;
  // Grows, never shrinks, before anything is written: on a full disk the old records stay whole.
  if (const int error =
          ::posix_fallocate(file.get(), 0, static_cast<off_t>(std::max(size, before->size())))) {
    problem = why(path, "cannot allocate " + std::to_string(size) + " bytes", error);
    return nullptr;
  }
  void* data =
      ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, file.get(), 0);
  if (data == MAP_FAILED) {
    problem = why(path, "cannot map it", errno);
    return nullptr;
  }
  auto mapping = std::make_unique<Mapping>();
  mapping->fd = file.release();
  mapping->data = static_cast<std::byte*>(data);
  mapping->size = size;
  std::fill_n(mapping->data, size, std::byte{});
  const std::uint64_t incarnation = fresh_incarnation();
  write_header(std::span{mapping->data, size}.first<header_bytes>(), {incarnation, ::getpid()});
  auto journal = std::unique_ptr<Journal>{
      new Journal{std::move(mapping), incarnation, workers, region, std::move(inherited)}};
  // What lies beyond is of the run before, and copied already.
  if (::ftruncate(journal->mapping_->fd, static_cast<off_t>(size)) != 0) {
    problem = why(path, "cannot cut it to size", errno);
    return nullptr;
  }
  return journal;
}

Journal::Journal(std::unique_ptr<Mapping> mapping, std::uint64_t incarnation, unsigned workers,
                 std::uint32_t region_size, std::vector<LegRecord> inherited)
    : mapping_(std::move(mapping)),
      incarnation_(incarnation),
      region_size_(region_size),
      first_inherited_(std::size_t{workers} * region_size),
      inherited_(std::move(inherited)) {
  for (unsigned i = 0; i < workers; ++i) {
    auto region = std::make_unique<Region>();
    region->first = region->fresh = i * region_size;
    region->end = region->first + region_size;
    region->free.reserve(region_size);
    region->closed.resize(region_size);
    regions_.push_back(std::move(region));
  }
  for (std::size_t i = 0; i < inherited_.size(); ++i) {
    const Record slot = record(first_inherited_ + i);
    const LegRecord& old = inherited_[i];
    if (write_leg(slot, old) && old.proof)
      write_proof(slot, old.incarnation, old.session, *old.proof);
  }
}

Journal::~Journal() = default;

Record Journal::record(std::size_t slot) noexcept {
  return Record{mapping_->data + header_bytes + slot * record_bytes, record_bytes};
}

Journal::Region& Journal::region_of(std::uint32_t slot) noexcept {
  return *regions_[slot / region_size_];
}

std::int32_t Journal::begin(unsigned worker, SessionId session, const SessionIdentity& who,
                            protocol::BackendPid pid) noexcept {
  Region& region = *regions_[worker];
  std::uint32_t slot = 0;
  if (!region.free.empty()) {
    slot = region.free.back();
    region.free.pop_back();
  } else if (region.fresh < region.end) {
    slot = region.fresh++;
  } else if (region.closed_count > 0) {
    slot = region.closed[region.oldest];
    region.oldest = (region.oldest + 1) % region.closed.size();
    --region.closed_count;
  } else {
    region.unrecorded.add();
    return -1;
  }
  LegRecord made;
  made.incarnation = incarnation_;
  made.session = session;
  made.opened_at = unix_seconds(who.connected_at);
  made.server = server_hash(who.server);
  made.pid = pid;
  made.leg.port = who.leg.port;
  const bool fits = who.leg.address.size() <= max_leg_address;
  if (fits) made.leg.address = who.leg.address;
  if (!fits || !write_leg(record(slot), made)) {
    region.free.push_back(slot);
    region.unrecorded.add();
    return -1;
  }
  return static_cast<std::int32_t>(slot);
}

void Journal::free(std::int32_t slot) noexcept {
  if (slot < 0) return;
  write_free(record(static_cast<std::size_t>(slot)));
  region_of(static_cast<std::uint32_t>(slot))
      .free.push_back(static_cast<std::uint32_t>(slot));  // within its capacity
}

void Journal::close(std::int32_t slot) noexcept {
  if (slot < 0) return;
  write_closed(record(static_cast<std::size_t>(slot)));
  Region& region = region_of(static_cast<std::uint32_t>(slot));
  region.closed[(region.oldest + region.closed_count) % region.closed.size()] =
      static_cast<std::uint32_t>(slot);
  ++region.closed_count;
}

void Journal::complete(std::int32_t slot, SessionId session, const BackendProof& proof) noexcept {
  if (slot < 0 || static_cast<std::size_t>(slot) >= first_inherited_) return;
  write_proof(record(static_cast<std::size_t>(slot)), incarnation_, session, proof);
}

void Journal::settle(std::size_t inherited) noexcept {
  if (inherited < inherited_.size()) write_free(record(first_inherited_ + inherited));
}

std::uint64_t Journal::unrecorded() const noexcept {
  std::uint64_t total = 0;
  for (const auto& region : regions_) total += region->unrecorded.get();
  return total;
}

}  // namespace pgleash::proxy
