#include "protocol/scram.hpp"

#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

}  // namespace

/// Any bytes as each of SCRAM's messages. What is taken is within bounds, and is made of the very
/// bytes that came; base64 is read in one way only.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace pgleash::protocol::scram;
  const std::string_view text{reinterpret_cast<const char*>(data), size};
  if (const auto bytes = from_base64(text)) require(to_base64(*bytes) == text);
  require(from_base64(to_base64(text)) == std::string{text} || text.empty());
  if (const auto first = parse_client_first(text)) {
    require(first->gs2_header + first->bare == text);
    require(!first->nonce.empty() && first->nonce.size() <= max_nonce);
    require(first->nonce.find(',') == std::string::npos);
    require((first->binding == Binding::used) == first->gs2_header.starts_with('p'));
  }
  if (const auto first = parse_server_first(text)) {
    require(first->iterations > 0 && first->iterations <= max_iterations);
    const auto again =
        parse_server_first(server_first(first->nonce, first->salt, first->iterations));
    require(again && again->salt == first->salt && again->nonce == first->nonce);
  }
  if (const auto final = parse_client_final(text)) {
    require(final->proof.size() == key_size);
    require(final->without_proof + ",p=" + to_base64(final->proof) == text);
  }
  if (const auto signature = parse_server_final(text)) require(signature->size() == key_size);
  if (const auto verifier = parse_verifier(text))
    require(verifier->stored_key.size() == key_size && verifier->server_key.size() == key_size);
  if (const auto response = parse_initial_response(text))
    require(response->mechanism.size() + response->data.size() + 5 == text.size());
  return 0;
}
