#include "protocol/session_tracker.hpp"
#include "tests/unit/protocol/reference_flow.hpp"
#include "tests/unit/protocol/whole_messages.hpp"
#include "tests/unit/protocol/wire.hpp"

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

namespace {

using namespace pgleash;
using namespace pgleash::protocol;

class Silent final : public TrackerEvents {
 public:
  void backend_key(BackendPid /*pid*/, Bytes /*secret*/) override {}
  void parameter_status(std::string_view /*name*/, std::string_view /*value*/) override {}
  void server_error(std::string_view /*severity*/, std::string_view /*sqlstate*/) override {}
  void negotiated_minor(std::int32_t /*newest_minor*/) override {}
};

void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "broken: %s\n", what);
  std::abort();
}

}  // namespace

/// Each byte is a message that is whole: of the client when its highest bit is not set, else of the
/// server, with what it says of the transaction or of its severity in the next two. The tracker
/// must know what the plain rules of tests/unit/protocol/reference_flow say, whatever the order.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  constexpr std::string_view of_frontend = "PBEDCQSHcfdFX";
  constexpr std::string_view of_backend = "Z123nTtDCIsGHWVcdENAxSCZ";
  StatementTexts texts{16U << 10U};
  Silent events;
  SessionTracker tracker{texts, Instant{}};
  ReferenceFlow reference;
  Instant now{};
  tracker.on_backend(wire::bytes(wire::login()), now, events);
  for (std::size_t i = 0; i < size; ++i) {
    const unsigned byte = data[i];
    now += std::chrono::seconds{1};
    if ((byte & 0x80U) == 0) {
      const char type = of_frontend[byte % of_frontend.size()];
      tracker.on_frontend(wire::bytes(wire::whole_frontend(type)), now, events);
      reference.frontend(type);
    } else {
      const char type = of_backend[(byte & 0x1FU) % of_backend.size()];
      const unsigned more = byte >> 5U & 3U;
      const char extra = type == 'Z' ? "ITEx"[more] : type == 'E' && more == 3 ? 'F' : '\0';
      tracker.on_backend(wire::bytes(wire::whole_backend(type, extra)), now, events);
      reference.backend(type, extra);
    }
    const SessionFacts& facts = tracker.facts();
    require(facts.state == reference.state(), "the state");
    require(facts.anomalies == reference.anomalies, "the number of anomalies");
    require(facts.degraded == reference.degraded, "whether it can be trusted");
    require(static_cast<char>(facts.transaction) == reference.status, "the transaction's status");
  }
  return 0;
}
