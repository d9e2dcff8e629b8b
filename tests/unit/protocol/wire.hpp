#pragma once

#include "protocol/types.hpp"

#include <cstdint>
#include <string>
#include <string_view>

/// Messages as they go over the wire, written by hand for tests.
namespace pgleash::protocol::wire {

inline Bytes bytes(std::string_view text) {
  return std::as_bytes(std::span{text.data(), text.size()});
}

inline std::string int32(std::uint32_t value) {
  return {static_cast<char>(value >> 24U), static_cast<char>(value >> 16U),
          static_cast<char>(value >> 8U), static_cast<char>(value)};
}

inline std::string zero_ended(std::string_view text) {
  return std::string{text} + '\0';
}

inline std::string message(char type, std::string_view body = {}) {
  return type + int32(static_cast<std::uint32_t>(body.size() + 4)) + std::string{body};
}

/// A first message: length and body, without a type.
inline std::string untyped(std::string_view body) {
  return int32(static_cast<std::uint32_t>(body.size() + 4)) + std::string{body};
}

inline std::string query(std::string_view text) {
  return message('Q', zero_ended(text));
}
inline std::string parse(std::string_view text, std::string_view name = {}) {
  return message('P', zero_ended(name) + zero_ended(text) + std::string(2, '\0'));
}
inline std::string bind(std::string_view statement = {}, std::string_view portal = {}) {
  return message('B', zero_ended(portal) + zero_ended(statement) + std::string(6, '\0'));
}
inline std::string execute(std::string_view portal = {}) {
  return message('E', zero_ended(portal) + int32(0));
}
inline std::string close(char kind, std::string_view name) {
  return message('C', kind + zero_ended(name));
}
inline std::string sync() {
  return message('S');
}

inline std::string ready(char status = 'I') {
  return message('Z', std::string_view{&status, 1});
}
inline std::string complete(std::string_view tag) {
  return message('C', zero_ended(tag));
}
inline std::string error(std::string_view sqlstate = "XX000", std::string_view severity = "ERROR") {
  return message('E', "S" + zero_ended(severity) + "V" + zero_ended(severity) + "C" +
                          zero_ended(sqlstate) + "M" + zero_ended("what went wrong") + '\0');
}
inline std::string parameter(std::string_view name, std::string_view value) {
  return message('S', zero_ended(name) + zero_ended(value));
}
inline std::string authentication(std::uint32_t request) {
  return message('R', int32(request));
}

/// A server's side of a login that asked for a password.
inline std::string login(std::string_view superuser = "off") {
  return authentication(3) + authentication(0) + parameter("is_superuser", superuser) +
         message('K', int32(4711) + int32(815)) + ready();
}

}  // namespace pgleash::protocol::wire
