#include "config/monitor_words.hpp"

#include "config/libpq_words.hpp"
#include "config/names.hpp"
#include "config/nearest.hpp"
#include "config/secret_file.hpp"

#include <algorithm>
#include <array>
#include <optional>
#include <variant>

namespace pgleash::config {

namespace {

constexpr std::array<std::string_view, 3> own_words{"user", "dbname", "password_file"};
constexpr std::array<std::string_view, 4> server_words{"host", "hostaddr", "port", "sslmode"};

std::optional<Fault> set_word(const std::string& word, std::string value, Monitor& monitor) {
  if (value.empty() && std::ranges::find(own_words, word) != own_words.end()) {
    return Fault{'\'' + word + "' has no value", "leave it out for the default"};
  }
  if (word == "user" || word == "dbname") {
    auto parsed = parse_identifier(value);
    if (auto* fault = std::get_if<Fault>(&parsed)) return std::move(*fault);
    (word == "user" ? monitor.user : monitor.database) = std::move(value);
  } else if (word == "password_file") {
    monitor.password_file = std::move(value);
    return secret_file_fault(monitor.password_file);
  } else if (word == "password") {
    return Fault{"a password on the command line is everybody's to read",
                 "write password_file=PATH, or leave it to PGPASSWORD or libpq's passfile"};
  } else if (word == "database") {
    return Fault{"unknown word 'database'", "libpq's word is dbname"};
  } else if (std::ranges::find(server_words, std::string_view{word}) != server_words.end()) {
    return Fault{'\'' + word + "' is not the monitor's to choose",
                 "it connects to the address of --server"};
  } else {
    const auto meant = nearest(word, own_words);
    return Fault{"unknown word '" + word + '\'', meant
                                                     ? "did you mean '" + std::string(*meant) + "'?"
                                                     : "known here: " + listed(own_words)};
  }
  return std::nullopt;
}

}  // namespace

Monitor read_monitor_words(std::string_view text, std::vector<Fault>& faults) {
  Monitor monitor;
  if (text == "none") {
    monitor.enabled = false;
    return monitor;
  }
  auto parsed = parse_libpq_words(text, "user=pgleash_monitor dbname=pgleash, or none");
  if (auto* fault = std::get_if<Fault>(&parsed)) {
    faults.push_back(std::move(*fault));
    return monitor;
  }
  for (auto& [word, value] : std::get<LibpqWords>(parsed)) {
    if (auto fault = set_word(word, std::move(value), monitor)) faults.push_back(std::move(*fault));
  }
  return monitor;
}

}  // namespace pgleash::config
