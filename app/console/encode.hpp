#pragma once

#include "app/console/sql_error.hpp"
#include "app/console/table.hpp"

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

/// The messages of a server, as bytes. Pure. Source: "Frontend/Backend Protocol", Message Formats.
namespace pgleash::console {

enum class Format : std::uint8_t { text, binary };
/// Of each column: none, one for all, or one each, as Bind has them.
using Formats = std::vector<Format>;

void put_message(std::string& out, char type, std::string_view body);
void put_row_description(std::string& out, std::span<const Column> columns, const Formats& formats);
void put_data_row(std::string& out, const Row& row, std::span<const Column> columns,
                  const Formats& formats);
void put_complete(std::string& out, std::string_view tag);
void put_ready(std::string& out, char transaction);
void put_parameter_status(std::string& out, std::string_view name, std::string_view value);
void put_parameter_description(std::string& out, std::span<const Type> types);
/// `severity`: ERROR, FATAL; with WARNING or NOTICE a NoticeResponse.
void put_error(std::string& out, const SqlError& error, std::string_view severity = "ERROR");

/// A value that Bind brought, in the text form of its type. 22P03 when the bytes are none, 0A000
/// for a type whose binary form the console does not read.
[[nodiscard]] Outcome<std::string> parameter_text(std::string_view bytes, std::uint32_t oid,
                                                  Format format);

}  // namespace pgleash::console
