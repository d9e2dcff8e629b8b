#include "proxy/counters.hpp"
#include "proxy/kill_order.hpp"

#include <algorithm>

namespace pgleash::proxy {

std::string_view name(AcceptResult result) noexcept {
  switch (result) {
    case AcceptResult::accepted:
      return "accepted";
    case AcceptResult::not_allowed:
      return "not_allowed";
    case AcceptResult::no_challenge:
      return "no_challenge";
    case AcceptResult::protocol_error:
      return "protocol_error";
    case AcceptResult::proxy_header:
      return "proxy_header";
    case AcceptResult::tls_error:
      return "tls_error";
    case AcceptResult::login_timeout:
      return "login_timeout";
    case AcceptResult::login_limit:
      return "login_limit";
    case AcceptResult::session_limit:
      return "session_limit";
    case AcceptResult::quota:
      return "quota";
    case AcceptResult::server_unreachable:
      return "server_unreachable";
    case AcceptResult::server_refused:
      return "server_refused";
    case AcceptResult::client_gone:
      return "client_gone";
    case AcceptResult::draining:
      return "draining";
    case AcceptResult::cancel_request:
      return "cancel_request";
    case AcceptResult::console:
      return "console";
    case AcceptResult::count_:
      break;
  }
  return "?";
}

std::string_view name(EndCause cause) noexcept {
  switch (cause) {
    case EndCause::client_terminate:
      return "client_terminate";
    case EndCause::client_abort:
      return "client_abort";
    case EndCause::client_timeout:
      return "client_timeout";
    case EndCause::server_close:
      return "server_close";
    case EndCause::server_error:
      return "server_error";
    case EndCause::rule:
      return "rule";
    case EndCause::admin:
      return "admin";
    case EndCause::drain:
      return "drain";
    case EndCause::proxy_error:
      return "proxy_error";
    case EndCause::count_:
      break;
  }
  return "?";
}

std::string_view name(CancelOrigin origin) noexcept {
  switch (origin) {
    case CancelOrigin::client:
      return "client";
    case CancelOrigin::rule:
      return "rule";
    case CancelOrigin::client_gone:
      return "client_gone";
    case CancelOrigin::drain:
      return "drain";
    case CancelOrigin::count_:
      break;
  }
  return "?";
}

std::string_view name(CancelResult result) noexcept {
  switch (result) {
    case CancelResult::delivered:
      return "delivered";
    case CancelResult::unreachable:
      return "unreachable";
    case CancelResult::timeout:
      return "timeout";
    case CancelResult::unknown_key:
      return "unknown_key";
    case CancelResult::overload:
      return "overload";
    case CancelResult::observed:
      return "observed";
    case CancelResult::count_:
      break;
  }
  return "?";
}

std::string_view name(InBandStep step) noexcept {
  switch (step) {
    case InBandStep::none:
      return "none";
    case InBandStep::end_waiting:
      return "end_waiting";
    case InBandStep::end_copy_in:
      return "end_copy_in";
    case InBandStep::reset_then_cancel:
      return "reset_then_cancel";
    case InBandStep::reset_stalled:
      return "reset_stalled";
    case InBandStep::cancel:
      return "cancel";
  }
  return "?";
}

std::string_view name(KillResult result) noexcept {
  switch (result) {
    case KillResult::done:
      return "done";
    case KillResult::recovered:
      return "recovered";
    case KillResult::gone:
      return "gone";
    case KillResult::exempt_now:
      return "exempt_now";
    case KillResult::untrustworthy:
      return "untrustworthy";
    case KillResult::failed:
      return "failed";
  }
  return "?";
}

}  // namespace pgleash::proxy
