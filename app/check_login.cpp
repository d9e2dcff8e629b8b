#include "app/check_login.hpp"

#include "proxy/clock.hpp"
#include "proxy/login_edit.hpp"
#include "watchdog/utf8.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <pwd.h>
#include <unistd.h>
#include <utility>

namespace pgleash::app {

namespace {

using config::ListenerTlsMode;
using config::RequireChallenge;
using proxy::LoginOffer;
using watchdog::Gravity;
using Kind = LoginOffer::Kind;

struct Role {
  std::string name;
  bool told = false;  ///< what applies to it is told, not only that it gets in
};

void add(std::vector<Role>& roles, const std::string& name, bool told) {
  if (name.empty()) return;
  const auto known = std::ranges::find(roles, name, &Role::name);
  if (known == roles.end()) {
    roles.push_back({name, told});
  } else {
    known->told = known->told || told;
  }
}

std::string own_user() {
  const passwd* entry = ::getpwuid(::geteuid());
  return entry == nullptr ? std::string{} : std::string{entry->pw_name};
}

std::vector<Role> roles_of(const config::Config& config, const config::Server& server,
                           const LoginQuestion& question) {
  std::vector<Role> roles;
  for (const std::string& name : question.roles) add(roles, name, true);
  if (server.monitor.enabled) add(roles, server.monitor.user, true);
  for (const auto* users :
       {&config.console.viewers, &config.console.operators, &config.console.admins})
    for (const std::string& name : *users) add(roles, name, true);
  add(roles, "postgres", false);
  add(roles, own_user(), false);
  add(roles, role_of_nobody, false);
  return roles;
}

std::string leg_of(const LoginOffer& offer) {
  if (offer.unix_socket) return "the Unix socket to the server";
  if (offer.tls.empty()) return "a plain leg to the server";
  return fmt::format("{} to the server", offer.tls);
}

LoginFinding open_door(LoginFinding finding, const config::Listener& listener,
                       const LoginOffer& offer) {
  const bool opaque = listener.tls.mode == ListenerTlsMode::opaque;
  finding.message = fmt::format(
      "gets in without a password{}, over {}: a trust, peer, ident or cert line of pg_hba.conf "
      "matches pgleash",
      finding.role == role_of_nobody ? ", though there need not be such a role: so does any" : "",
      leg_of(offer));
  if (opaque || listener.require_challenge == RequireChallenge::never) {
    finding.gravity = Gravity::error;
    finding.message += opaque ? "; nobody can see it through the clients' TLS, so everybody who "
                                "reaches this listener is that role"
                              : "; require_challenge is \"never\", so everybody who reaches this "
                                "listener is that role";
  } else if (listener.require_challenge == RequireChallenge::remote) {
    finding.gravity = Gravity::warning;
    finding.message +=
        "; remote clients are refused (require_challenge), those of this host are that role";
  } else {
    finding.message += "; all clients are refused (require_challenge)";
  }
  finding.remedy = "write a scram-sha-256 line for pgleash into pg_hba.conf, above it";
  return finding;
}

LoginFinding by_scram(LoginFinding finding, const config::Listener& listener,
                      const LoginOffer& offer, bool same_certificate) {
  const ListenerTlsMode mode = listener.tls.mode;
  const bool client = mode != ListenerTlsMode::off;
  const std::string who = mode == ListenerTlsMode::prefer ? "clients with TLS" : "clients";
  if (mode == ListenerTlsMode::opaque) {
    finding.message =
        "SCRAM, mode F: the client's TLS ends at the server, so channel binding holds end to end";
  } else if (listener.scram == config::Scram::reoriginate) {
    finding.message = fmt::format(
        "SCRAM, mode E: pgleash verifies the client and logs in for it over {}, if this role is in "
        "scram_group; {}",
        leg_of(offer),
        client ? who + " may bind to the listener's certificate, channel_binding=require included"
               : "clients come in clear and cannot bind");
  } else if (offer.kind == Kind::scram) {
    finding.message = fmt::format(
        "SCRAM, mode A: the server offers no channel binding over {}; channel_binding=disable and "
        "prefer work, require does not",
        leg_of(offer));
  } else if (!client) {
    finding.message = fmt::format(
        "SCRAM, mode B: {}, clients come in clear, so pgleash takes channel binding out of the "
        "offer; channel_binding=disable and prefer work, require does not",
        leg_of(offer));
  } else if (same_certificate) {
    finding.message = fmt::format(
        "SCRAM, mode C: {}, and the listener shows the server's own certificate: {} may bind, "
        "channel_binding=require included",
        leg_of(offer), who);
  } else {
    finding.gravity = Gravity::warning;
    finding.message = fmt::format(
        "SCRAM, mode D: {} with another certificate than the listener's: {} that bind are refused "
        "(\"SCRAM channel binding check failed\"), and libpq does by default; "
        "channel_binding=disable works",
        leg_of(offer), who);
    finding.remedy = proxy::channel_binding_hint();
  }
  return finding;
}

}  // namespace

LoginFinding judge_login(const config::Listener& listener, const std::string& role,
                         const LoginOffer& offer, bool same_certificate) {
  LoginFinding finding;
  finding.listener = listener.name;
  finding.server = listener.server;
  finding.role = role;
  switch (offer.kind) {
    case Kind::in:
      return open_door(std::move(finding), listener, offer);
    case Kind::scram:
    case Kind::scram_bound:
      return by_scram(std::move(finding), listener, offer, same_certificate);
    case Kind::md5:
      finding.message = fmt::format(
          "md5 over {}: nothing is bound to a channel, channel_binding=require refuses it",
          leg_of(offer));
      finding.remedy = "let it set its password anew with password_encryption = scram-sha-256";
      break;
    case Kind::password:
      finding.gravity = offer.tls.empty() && !offer.unix_socket ? Gravity::warning : Gravity::note;
      finding.message = fmt::format(
          "a password in clear over {}: it passes through pgleash's memory", leg_of(offer));
      finding.remedy = "write scram-sha-256 instead of password into pg_hba.conf";
      break;
    case Kind::gss:
      finding.message = "GSSAPI: passes, for the host name that the client dials";
      break;
    case Kind::other:
      finding.message = "another way of proof, which passes as it is";
      break;
    case Kind::refused:
      finding.gravity = Gravity::warning;
      finding.message = fmt::format("the server refuses it over {}: {} (SQLSTATE {})",
                                    leg_of(offer), offer.message, offer.sqlstate);
      finding.remedy = "pg_hba.conf has to have a line for the address of pgleash";
      break;
    case Kind::unreachable:
      finding.gravity = Gravity::error;
      finding.message = offer.message;
      break;
  }
  return finding;
}

std::vector<LoginFinding> check_logins(const config::Config& config,
                                       const LoginQuestion& question) {
  config::Config tried = config;
  // Who passes TLS through reaches the server by it, whatever other sessions do.
  for (config::Server& server : tried.servers)
    for (const config::Listener& listener : tried.listeners)
      if (listener.server == server.name && listener.tls.mode == ListenerTlsMode::opaque &&
          server.tls.mode < config::SslMode::prefer)
        server.tls.mode = config::SslMode::prefer;
  std::vector<config::Diagnostic> unused;  // said when the configuration was loaded
  auto tls = proxy::make_tls(tried, {}, unused);
  if (!tls) return {};
  const proxy::ProxySettings settings{tried, std::move(*tls)};
  boost::asio::io_context context{1};

  std::vector<LoginFinding> all;
  const auto try_login = [&](std::size_t server, proxy::LoginClaim claim) {
    LoginOffer offer;
    proxy::EventSet events{context};
    proxy::LoopShare share;
    proxy::Upstream upstream{events, settings, share};
    events.serve();
    boost::asio::co_spawn(
        context,
        proxy::probe_login(events, settings, upstream, server, std::move(claim),
                           proxy::monotonic_now() + 2 * settings.servers[server].connect_timeout),
        [&](const std::exception_ptr& failure, LoginOffer found) {
          events.stop();
          if (failure) std::rethrow_exception(failure);
          offer = std::move(found);
        });
    context.run();
    context.restart();
    return offer;
  };
  const auto tell = [&](std::size_t server, const proxy::LoginClaim& claim,
                        const LoginOffer& offer) {
    for (std::size_t l = 0; l < settings.listeners.size(); ++l) {
      if (settings.server_of[l] != server) continue;
      const bool same =
          std::ranges::find(offer.same_certificate, l) != offer.same_certificate.end();
      LoginFinding& found =
          all.emplace_back(judge_login(settings.listeners[l], claim.user, offer, same));
      found.server = settings.servers[server].name;
      found.replication = claim.replication;
    }
  };
  for (std::size_t i = 0; i < settings.servers.size(); ++i) {
    const config::Monitor& monitor = settings.servers[i].monitor;
    for (const Role& role : roles_of(config, settings.servers[i], question)) {
      const bool own = monitor.enabled && role.name == monitor.user;
      proxy::LoginClaim claim{role.name, own ? monitor.database : question.database, false};
      LoginOffer offer = try_login(i, claim);
      if (role.told || offer.kind == Kind::in) tell(i, claim, offer);
      if (offer.kind == Kind::unreachable) break;  // nor will the others get there
      claim.replication = true;
      offer = try_login(i, claim);
      if (offer.kind == Kind::in) tell(i, claim, offer);
    }
  }
  return all;
}

Gravity gravest(const std::vector<LoginFinding>& findings) noexcept {
  Gravity worst = Gravity::note;
  for (const LoginFinding& one : findings) worst = std::max(worst, one.gravity);
  return worst;
}

std::string to_text(const std::vector<LoginFinding>& findings) {
  std::string text;
  for (const LoginFinding& one : findings) {
    text += fmt::format("login {} -> {}, role {}{}: {}: {}\n", one.listener, one.server, one.role,
                        one.replication ? " for replication" : "", watchdog::name(one.gravity),
                        one.message);
    if (!one.remedy.empty()) text += fmt::format("      = {}\n", one.remedy);
  }
  return watchdog::valid_utf8(text);
}

std::string to_json(const std::vector<LoginFinding>& findings) {
  boost::json::array all;
  for (const LoginFinding& one : findings) {
    boost::json::object entry;
    entry["listener"] = one.listener;
    entry["server"] = one.server;
    entry["role"] = watchdog::valid_utf8(one.role);
    entry["replication"] = one.replication;
    entry["severity"] = watchdog::name(one.gravity);
    entry["message"] = watchdog::valid_utf8(one.message);
    entry["remedy"] = watchdog::valid_utf8(one.remedy);
    all.push_back(std::move(entry));
  }
  return boost::json::serialize(all);
}

}  // namespace pgleash::app
