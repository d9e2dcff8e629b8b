#pragma once

#include "protocol/types.hpp"
#include "proxy/kill_order.hpp"

#include <cstddef>
#include <optional>
#include <string>

namespace pgleash::proxy {

/// The ErrorResponse, severity ERROR, that tells the client of a cancel in the rule's words.
[[nodiscard]] std::string cancel_error(const ErrorNotice& notice);

/// Puts the rule's words in the place of the server's 57014 behind a cancel of our own: the server
/// can only say "due to user request", which nobody made. The one place where bytes of a session
/// that is up are changed. A statement that streams rows has its error at any place of what is
/// read, so an ErrorResponse that is cut keeps its beginning here until the rest has come.
/// Belongs to its session, touched on its worker's thread.
class CancelWords {
 public:
  /// A longer ErrorResponse than this (bytes, with its header) is never kept: it goes as it is.
  static constexpr std::size_t longest = std::size_t{8} << 10U;

  explicit CancelWords(const ErrorNotice& notice) : words_(cancel_error(notice)) {}

  /// What the client gets for `chunk`: a view of `chunk` itself or of `out`, valid as long as both;
  /// empty while all of it waits for its rest. `left`: bytes at the beginning of `chunk` that
  /// belong to a message that began before (none: not known, it begins inside a header).
  [[nodiscard]] protocol::Bytes feed(protocol::Bytes chunk, std::optional<std::size_t> left,
                                     std::string& out);
  /// The cancel is no longer ours. What waits here goes to the client with its rest, though.
  void give_up() noexcept { given_up_ = true; }
  /// Nothing is left to do: the words are with the client, or nobody wants to say them.
  [[nodiscard]] bool done() const noexcept { return begun_.empty() && (told_ || given_up_); }

 private:
  std::string words_;
  std::string begun_;  ///< what the client lacks of a message; at most `longest`
  bool told_ = false;
  bool given_up_ = false;
};

}  // namespace pgleash::proxy
