#include "watchdog/leak_endings.hpp"

namespace pgleash::watchdog {
namespace {

/// True when it is the most frequent one now: `best` is that of the others.
bool leads(std::map<std::string, std::size_t>& counts, const std::string& hash,
           const std::string& best) {
  const std::size_t times = ++counts[hash];
  return hash == best || times > counts[best];
}

}  // namespace

void LeakEndings::add(const SessionEvidence& suspect) {
  if (!suspect.last.hash.empty() &&
      leads(last_, suspect.last.hash, report_.statement_fingerprint)) {
    report_.statement_fingerprint = suspect.last.hash;
    report_.statement = suspect.last.text;
    if (!suspect.tags.empty()) report_.tags = suspect.tags;
    report_.same_statement =
        static_cast<double>(last_[suspect.last.hash]) / static_cast<double>(report_.oldest.size());
  }
  if (!suspect.first.hash.empty() &&
      leads(first_, suspect.first.hash, report_.first_statement_fingerprint)) {
    report_.first_statement_fingerprint = suspect.first.hash;
    report_.first_statement = suspect.first.text;
  }
}

}  // namespace pgleash::watchdog
