#include "protocol/messages.hpp"

#include "protocol/wire_reader.hpp"

namespace pgleash::protocol {
namespace {

StatementText cut_text(std::string_view name, Bytes bytes) noexcept {
  const std::string_view seen = as_text(bytes);
  const std::size_t end = std::min(seen.find('\0'), seen.size());
  const bool terminated = end < seen.size();
  const std::string_view text = seen.substr(0, std::min<std::size_t>(end, read_limit::text));
  return {.name = name, .text = text, .truncated = !terminated || text.size() < end};
}

}  // namespace

std::optional<Authentication> decode_authentication(Bytes body) noexcept {
  const auto request = WireReader{body}.uint32();
  if (!request) return std::nullopt;
  return Authentication{*request};
}

std::optional<BackendKey> decode_backend_key(Bytes body) noexcept {
  WireReader reader{body};
  const auto pid = reader.uint32();
  const Bytes secret = reader.rest();
  if (!pid || secret.empty() || secret.size() > CancelKey::max_secret_size) return std::nullopt;
  return BackendKey{.pid = BackendPid{static_cast<std::int32_t>(*pid)}, .secret = secret};
}

std::optional<Parameter> decode_parameter_status(Bytes body) noexcept {
  WireReader reader{body};
  const auto name = reader.string();
  if (!name) return std::nullopt;
  const auto value = reader.string();
  if (!value) return std::nullopt;
  return Parameter{.name = *name, .value = *value};
}

std::optional<std::int32_t> decode_negotiate_version(Bytes first_bytes) noexcept {
  const auto version = WireReader{first_bytes}.uint32();
  if (!version) return std::nullopt;
  return static_cast<std::int32_t>(*version & 0xFFFFU);
}

ErrorSummary decode_error(Bytes first_bytes) noexcept {
  WireReader reader{first_bytes};
  ErrorSummary error;
  std::string_view translated;
  for (;;) {
    const auto code = reader.byte();
    if (!code || *code == '\0') break;
    const auto value = reader.string();
    if (!value) break;
    if (*code == 'V') {
      error.severity = *value;
    } else if (*code == 'S') {
      translated = *value;
    } else if (*code == 'C') {
      error.sqlstate = *value;
    }
  }
  if (error.severity.empty()) error.severity = translated;
  return error;
}

StatementText decode_query(Bytes first_bytes) noexcept {
  return cut_text({}, first_bytes);
}

std::optional<StatementText> decode_parse(Bytes first_bytes) noexcept {
  WireReader reader{first_bytes};
  const auto name = reader.string();
  if (!name || name->size() >= read_limit::name) return std::nullopt;
  return cut_text(*name, reader.rest());
}

std::optional<BindNames> decode_bind(Bytes first_bytes) noexcept {
  WireReader reader{first_bytes};
  const auto portal = reader.string();
  if (!portal) return std::nullopt;
  const auto statement = reader.string();
  if (!statement) return std::nullopt;
  return BindNames{.portal = *portal, .statement = *statement};
}

std::optional<std::string_view> decode_execute(Bytes first_bytes) noexcept {
  return WireReader{first_bytes}.string();
}

std::optional<CloseTarget> decode_close(Bytes first_bytes) noexcept {
  WireReader reader{first_bytes};
  const auto kind = reader.byte();
  if (!kind) return std::nullopt;
  const auto name = reader.string();
  if (!name) return std::nullopt;
  return CloseTarget{.kind = *kind, .name = *name};
}

}  // namespace pgleash::protocol
