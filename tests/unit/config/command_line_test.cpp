#include "config/address.hpp"
#include "config/defaults.hpp"
#include "config/loader.hpp"
#include "tests/unit/config/samples.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <string>
#include <sys/stat.h>
#include <tuple>

namespace pgleash::config {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

LoadResult run(CommandLine line) {
  if (line.server.empty()) line.server = "db1:5432";
  return from_command_line(line);
}

TEST(CommandLine, OfAServerAloneObservesWithTheDefaultRules) {
  const LoadResult result = run({.server = "postgres://db1:5433"});
  ASSERT_THAT(result.diagnostics, IsEmpty());
  const Config& config = *result.config;
  EXPECT_EQ(config.servers.front().address, (Address{"db1", 5433, false}));
  EXPECT_FALSE(config.servers.front().monitor.enabled);
  EXPECT_EQ(config.listeners.front().server, config.servers.front().name);
  EXPECT_THAT(config.listeners.front().listen, ElementsAre(Address{"127.0.0.1", 6432, false}));
  EXPECT_THAT(config.listeners.front().allow, SizeIs(2));
  EXPECT_EQ(config.rules, default_rules());
  EXPECT_EQ(config.enforcement.mode, Mode::observe);
  EXPECT_EQ(config.metrics, Metrics{});
  EXPECT_EQ(config.process.name, host_name());
  EXPECT_THAT(config.identity.driver_defaults, SizeIs(3));
}

TEST(CommandLine, TakesAServerInEachOfItsForms) {
  const std::pair<const char*, Address> table[] = {
      {"postgres://db1:5433", {"db1", 5433, false}},
      {"postgresql://db1:5433/", {"db1", 5433, false}},
      {"postgres://db1", {"db1", 5432, false}},
      {"postgres://[2001:db8::1]:5433", {"2001:db8::1", 5433, false}},
      {"postgres://10.0.0.1", {"10.0.0.1", 5432, false}},
      {"db1:5433", {"db1", 5433, false}},
      {"db1", {"db1", 5432, false}},
      {"[::1]:5433", {"::1", 5433, false}},
      {"[fe80::1%eth0]", {"fe80::1%eth0", 5432, false}},
      {"/var/run/postgresql", {"/var/run/postgresql", 5432, true}},
      {"/var/run/postgresql/", {"/var/run/postgresql", 5432, true}},
      {"/var/run/postgresql:5433", {"/var/run/postgresql", 5433, true}},
  };
  for (const auto& [text, expected] : table) {
    const LoadResult result = run({.server = text});
    ASSERT_TRUE(result.config) << text << ": " << render(result.diagnostics.front(), false);
    EXPECT_EQ(result.config->servers.front().address, expected) << text;
  }
}

TEST(CommandLine, RefusesAServerWithTheOptionAsItsPlace) {
  const std::tuple<const char*, const char*, const char*> table[] = {
      {"postgres://db1:99999", "not a port", "65535"},
      {"postgres://me@db1:5432", "has a user", "--monitor"},
      {"postgres://db1:5432/orders", "more than host and port", "postgres://db1:5432"},
      {"postgres://%2Frun%2Fpostgresql", "%-codes", "/var/run/postgresql"},
      {"2001:db8::1", "brackets", "\"[2001:db8::1]:5432\""},
      {"db1:", "not a port", "65535"},
      {":5432", "host is empty", ""},
      {"[::1", "no closing ]", "[::1]"},
      {"[db1]:5432", "not an IPv6 address", "brackets"},
      {"db one", "neither", ""},
      {"[fe80::1%e h]", "not an IPv6 address", ""},
      {"/run/postgresql:0", "not a port", ""},
  };
  for (const auto& [text, message, hint] : table) {
    const LoadResult result = run({.server = text});
    EXPECT_FALSE(result.config) << text;
    ASSERT_THAT(result.diagnostics, SizeIs(1)) << text;
    EXPECT_EQ(result.diagnostics.front().position, (SourcePosition{"--server"}));
    EXPECT_THAT(result.diagnostics.front().message, HasSubstr(message)) << text;
    EXPECT_THAT(result.diagnostics.front().hint, HasSubstr(hint)) << text;
  }
}

TEST(CommandLine, NeverRepeatsAPassword) {
  for (const char* text :
       {"postgres://me:hunter2@db1:5432", "postgres://db1?password=hunter2",
        "postgres://db1?sslmode=hunter 2&password=hunter2", "host=db1 password=hunter2",
        "host=db1 pasword='hunter2", "host=db1 sslmode=require password = hunter2 port",
        "host=me:hunter2@db1 sslmode=require", "postgres://?host=me:hunter2%40db1"}) {
    const LoadResult result = run({.server = text});
    ASSERT_FALSE(result.diagnostics.empty()) << text;
    for (const Diagnostic& one : result.diagnostics)
      EXPECT_THAT(render(one, false), Not(HasSubstr("hunter2"))) << text;
  }
}

TEST(CommandLine, TakesTheWayToTheServerInLibpqsWords) {
  const Folder files;
  files.write("ca.crt", "x", 0644);
  files.write("revoked.crl", "x", 0644);
  files.write("own.crt", "x", 0644);
  files.write("own.key", "x", 0600);
  const ServerTls all{SslMode::verify_full,  files.path("ca.crt"),  files.path("revoked.crl"),
                      files.path("own.crt"), files.path("own.key"), TlsVersion::v1_3,
                      TlsNegotiation::direct};
  const auto file = [&](const char* name) { return files.path(name); };
  const std::string words = "sslmode=verify-full sslrootcert='" + file("ca.crt") +
                            "' sslcrl=" + file("revoked.crl") + " sslcert=" + file("own.crt") +
                            " sslkey=" + file("own.key") +
                            " ssl_min_protocol_version=TLSv1.3 sslnegotiation=direct";
  std::string query = words;
  std::ranges::replace(query, ' ', '&');
  std::erase(query, '\'');
  for (const std::string& text :
       {"host=db1 port=5433 " + words, words + " port = 5433 host = 'db1'",
        "postgres://db1:5433?" + query, "postgresql://db1:5433/?" + query,
        "postgres://?host=db1&port=5433&" + query}) {
    const LoadResult result = run({.server = text});
    ASSERT_TRUE(result.config) << text << ": " << render(result.diagnostics.front(), false);
    EXPECT_EQ(result.config->servers.front().address, (Address{"db1", 5433, false})) << text;
    EXPECT_TRUE(result.config->servers.front().tls == all) << text;
  }
}

TEST(CommandLine, LeavesWhatNoWordSaysAsItIs) {
  const auto server = [](const char* text) {
    return run({.server = text}).config->servers.front();
  };
  EXPECT_TRUE(server("postgres://db1?sslmode=disable").address == (Address{"db1", 5432, false}));
  EXPECT_TRUE(server("host=db1").tls == ServerTls{});
  EXPECT_TRUE(server("postgres://db1?").tls == ServerTls{});
  EXPECT_EQ(server("host=db1 sslrootcert=system").tls.mode, SslMode::verify_full);
  EXPECT_EQ(server("host=db1 sslmode=allow sslmode=require").tls.mode, SslMode::require);
  EXPECT_TRUE(server("host=/run/postgresql port=5433").address ==
              (Address{"/run/postgresql", 5433, true}));
  EXPECT_TRUE(server("postgres:///?host=%2Frun%2Fpostgresql").address ==
              (Address{"/run/postgresql", 5432, true}));
  EXPECT_TRUE(server("host=::1").address == (Address{"::1", 5432, false}));
}

TEST(CommandLine, RefusesServerWordsThatItDoesNotKnowOrThatDoNotGoTogether) {
  const std::tuple<const char*, const char*, const char*> table[] = {
      {"host=db1 sslmod=require", "unknown word 'sslmod'", "'sslmode'"},
      {"postgres://db1?sslmod=require", "unknown word 'sslmod'", "'sslmode'"},
      {"host=db1 connect_timeout=3", "unknown word 'connect_timeout'", "known here: host, port"},
      {"host=db1 user=app", "'user' is not the server's", "--monitor"},
      {"postgres://db1?dbname=orders", "'dbname' is not the server's", "--monitor"},
      {"host=db1 sslmode=on", "\"on\" is no sslmode", "verify-full"},
      {"host=db1 ssl_min_protocol_version=TLSv1", "is no ssl_min_protocol_version", "TLSv1.2"},
      {"host=db1 sslmode=", "'sslmode' has no value", "default"},
      {"host=db1 port=0", "not a port", "65535"},
      {"host=db1,db2", "neither an address nor a host name", ""},
      {"sslmode=require", "names no host", "host=db1"},
      {"postgres://?sslmode=require", "names no host", "host=db1"},
      {"host=db1 sslmode", "without =", "sslmode=verify-full"},
      {"postgres://db1?sslmode", "without =", "sslmode=verify-full"},
      {"postgres://db1?sslmode=%7", "faulty %-code", "%25"},
      {"postgres://db1?sslrootcert=a%00b", "faulty %-code", "%25"},
      {"host=db1 sslrootcert=/nonexistent", "cannot find", "from the current one"},
      {"host=db1 sslmode=verify-full", "no certificate to verify", "sslrootcert"},
      {"host=db1 sslmode=require sslrootcert=system", "weak sslmode \"require\"", "verify-full"},
      {"host=db1 sslnegotiation=direct", "weak sslmode \"prefer\"", "\"require\""},
      {"host=/run/postgresql sslmode=require", "no TLS on Unix sockets", ""},
  };
  for (const auto& [text, message, hint] : table) {
    const LoadResult result = run({.server = text});
    EXPECT_FALSE(result.config) << text;
    ASSERT_THAT(result.diagnostics, SizeIs(1)) << text;
    EXPECT_EQ(result.diagnostics.front().position, (SourcePosition{"--server"})) << text;
    EXPECT_THAT(result.diagnostics.front().message, HasSubstr(message)) << text;
    EXPECT_THAT(result.diagnostics.front().hint, HasSubstr(hint)) << text;
  }
}

TEST(CommandLine, ListensInSeveralPlaces) {
  const LoadResult result =
      run({.listen = {"127.0.0.1:7000", "[::1]:7000", "/run/pgleash", "/run/pgleash:7000"}});
  ASSERT_TRUE(result.config);
  EXPECT_THAT(
      result.config->listeners.front().listen,
      ElementsAre(Address{"127.0.0.1", 7000, false}, Address{"::1", 7000, false},
                  Address{"/run/pgleash", 6432, true}, Address{"/run/pgleash", 7000, true}));
}

TEST(CommandLine, WritesAnAddressAsItReadsIt) {
  for (const char* text : {"127.0.0.1:1", "[::1]:7000", "[fe80::1%eth0]:1", "/run/pgleash",
                           "/run/pgleash:7000", "/run/a:b", "/run/a:1:6432", "/"}) {
    const auto parsed = parse_listen_address(text);
    ASSERT_TRUE(std::holds_alternative<Address>(parsed)) << text;
    const auto again = parse_listen_address(format_address(std::get<Address>(parsed)));
    EXPECT_TRUE(std::get<Address>(again) == std::get<Address>(parsed)) << text;
  }
  EXPECT_TRUE(std::holds_alternative<Fault>(parse_listen_address('/' + std::string(93, 'a'))));
  EXPECT_TRUE(std::holds_alternative<Address>(parse_listen_address('/' + std::string(91, 'a'))));
}

TEST(CommandLine, TheStatusPageGoesWithTheMetricsUnlessItIsAskedFor) {
  const auto status = [](CommandLine line) {
    line.server = "127.0.0.1:5432";
    const LoadResult result = from_command_line(line);
    return result.config && result.config->http.listen ? format_address(*result.config->http.listen)
                                                       : std::string{"off"};
  };
  EXPECT_EQ(status({}), "127.0.0.1:9733");
  EXPECT_EQ(status({.http = "0.0.0.0:9000"}), "127.0.0.1:9733");
  EXPECT_EQ(status({.http = "off"}), "off");
  EXPECT_EQ(status({.http = "off", .status = "127.0.0.1:8000"}), "127.0.0.1:8000");
  EXPECT_EQ(status({.status = "off"}), "off");
}

TEST(CommandLine, ReportsEveryFaultOfEveryOption) {
  const LoadResult result = from_command_line({.server = "",
                                               .listen = {"nowhere", "127.0.0.1:1"},
                                               .monitor = "usr=x password=hunter2 port=5",
                                               .http = "9732"});
  EXPECT_FALSE(result.config);
  std::vector<std::string> sources;
  for (const Diagnostic& found : result.diagnostics) {
    sources.push_back(found.position.source);
    EXPECT_THAT(render(found, false), Not(HasSubstr("hunter2")));
  }
  EXPECT_THAT(sources,
              ElementsAre("--server", "--monitor", "--monitor", "--monitor", "--listen", "--http"));
}

TEST(CommandLine, ChecksWhatTheOptionsSayTogether) {
  const LoadResult same = run({.listen = {"127.0.0.1:7000", "127.0.0.1:7000"}});
  ASSERT_THAT(same.diagnostics, SizeIs(1));
  EXPECT_EQ(same.diagnostics.front().position.source, "--listen");
  const LoadResult itself = run({.server = "127.0.0.1:6432", .listen = {"127.0.0.1:6432"}});
  ASSERT_THAT(itself.diagnostics, SizeIs(1));
  EXPECT_THAT(itself.diagnostics.front().hint, HasSubstr("itself"));
}

TEST(CommandLine, ReadsTheMonitorAsLibpqReadsIt) {
  const LoadResult result = run({.monitor = R"(user = 'o\'brien' dbname=a\ b)"});
  ASSERT_TRUE(result.config) << render(result.diagnostics.front(), false);
  const Monitor& monitor = result.config->servers.front().monitor;
  EXPECT_TRUE(monitor.enabled);
  EXPECT_EQ(monitor.user, "o'brien");
  EXPECT_EQ(monitor.database, "a b");
  EXPECT_EQ(run({.monitor = "user=x"}).config->servers.front().monitor.database, "pgleash");
  EXPECT_TRUE(run({.monitor = ""}).config->servers.front().monitor.enabled);
  EXPECT_FALSE(run({.monitor = "none"}).config->servers.front().monitor.enabled);
}

TEST(CommandLine, RefusesMonitorWordsThatAreNotItsOwn) {
  const std::tuple<const char*, const char*, const char*> table[] = {
      {"password=hunter2", "everybody's to read", "password_file=PATH"},
      {"usr=x", "unknown word 'usr'", "'user'"},
      {"database=x", "unknown word", "dbname"},
      {"host=db2", "'host' is not", "--server"},
      {"user=", "has no value", "default"},
      {"user='a\nb'", "cannot be a name in PostgreSQL", "63"},
      {"user='x", "no closing quote", ""},
      {"user", "without =", "user="},
      {"=x", "without =", "user="},
      {"password_file=/nonexistent", "cannot find", ""},
  };
  for (const auto& [text, message, hint] : table) {
    const LoadResult result = run({.monitor = text});
    ASSERT_THAT(result.diagnostics, SizeIs(1)) << text;
    EXPECT_EQ(result.diagnostics.front().position.source, "--monitor");
    EXPECT_THAT(result.diagnostics.front().message, HasSubstr(message)) << text;
    EXPECT_THAT(result.diagnostics.front().hint, HasSubstr(hint)) << text;
  }
}

TEST(CommandLine, TakesTheNumberOfWorkers) {
  EXPECT_EQ(run({.workers = "3"}).config->process.workers, 3U);
  EXPECT_EQ(run({.workers = "auto"}).config->process.workers, 0U);
  for (const char* wrong : {"0", "1025", "-1", "2x", ""})
    EXPECT_EQ(run({.workers = wrong}).diagnostics.front().position.source, "--workers") << wrong;
}

TEST(CommandLine, SwitchesHttpOffOrMovesIt) {
  EXPECT_EQ(run({.http = "off"}).config->metrics.listen, std::nullopt);
  EXPECT_EQ(run({.http = "[::]:9000"}).config->metrics.listen, (Address{"::", 9000, false}));
  EXPECT_EQ(run({.http = "9732"}).diagnostics.front().position.source, "--http");
}

}  // namespace
}  // namespace pgleash::config
