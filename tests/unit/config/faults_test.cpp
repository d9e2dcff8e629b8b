#include "config/loader.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ostream>
#include <string>
#include <vector>

namespace pgleash::config {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr const char* a_server = "\n[[server]]\nname = \"s\"\nhost = \"db\"\n";

/// One fault in a text: where it must be reported, and words that message and hint must have.
struct Faulty {
  const char* text;
  std::uint32_t line;
  std::uint32_t column;
  const char* message;
  const char* hint;
  Severity severity = Severity::error;
};

void PrintTo(const Faulty& faulty, std::ostream* out) {
  *out << faulty.text;
}

LoadResult load(const std::string& text) {
  const bool whole =
      text.find("server") != std::string::npos && text.find("host") != std::string::npos;
  return load_text(whole ? text : text + a_server, "pgleash.toml");
}

class Faults : public ::testing::TestWithParam<Faulty> {};

TEST_P(Faults, AreReportedOnceAtTheirPlaceWithAdvice) {
  const Faulty& expected = GetParam();
  const LoadResult result = load(expected.text);
  ASSERT_THAT(result.diagnostics, SizeIs(1))
      << (result.diagnostics.size() > 1 ? render(result.diagnostics[1], false) : "");
  const Diagnostic& found = result.diagnostics.front();
  SCOPED_TRACE(render(found, false));
  EXPECT_EQ(found.severity, expected.severity);
  EXPECT_EQ(found.position, (SourcePosition{"pgleash.toml", expected.line, expected.column}));
  EXPECT_THAT(found.message, HasSubstr(expected.message));
  EXPECT_THAT(found.hint, HasSubstr(expected.hint));
  EXPECT_EQ(result.config.has_value(), expected.severity == Severity::warning);
}

#define RULE "[[rule]]\nname = \"r\"\nkind = \"statement\"\nlimit = \"1h\"\n"

INSTANTIATE_TEST_SUITE_P(
    Syntax, Faults,
    ::testing::Values(
        Faulty{"[process]\ndrain_delay = 5s\n", 2, 16, "not TOML", "drain_delay = \"5s\""},
        Faulty{"[process]\nname = web\n", 2, 8, "not TOML", "name = \"web\""},
        Faulty{"[process]\nname = \"a\"\nname = \"b\"\n", 3, 8, "cannot redefine", "each key"},
        Faulty{"[process]\n[process]\n", 2, 1, "cannot redefine", "each key"},
        Faulty{"[identity]\ndriver_defaults = [\"postgres\\.js\"]\n", 2, 30, "escape",
               "single quotes"},
        Faulty{"[process\n", 1, 9, "not TOML", ""},
        Faulty{"[protect]\nsuperusers = True\n", 2, 14, "not TOML", "small letters"},
        Faulty{"[process]\nname =\n", 2, 7, "not TOML", "missing"},
        Faulty{"[server.monitor]\npassword = hunter2\n", 2, 12, "secret", "password_file"},
        Faulty{"[[server]]\nname = \"s\"\nhost = \"db\" port = 5\n", 3, 13, "not TOML", ""},
        Faulty{"# \xff\n", 1, 2, "not TOML: encountered invalid utf-8", ""}));

INSTANTIATE_TEST_SUITE_P(
    UnknownKeys, Faults,
    ::testing::Values(
        Faulty{"[process]\nmax_session = 5\n", 2, 1, "unknown key 'max_session' in [process]",
               "did you mean 'max_sessions'?"},
        Faulty{RULE "limt = \"5m\"\n", 5, 1, "unknown key 'limt' in [[rule]]",
               "did you mean 'limit'?"},
        Faulty{RULE "[rule.match]\nuser = ['a']\n", 6, 1, "unknown key 'user' in [rule.match]",
               "'users'"},
        Faulty{RULE "[rule.matches]\nusers = ['a']\n", 5, 7, "unknown section [rule.matches]",
               "'match'"},
        Faulty{"[[listeners]]\nname = \"x\"\n", 1, 3, "unknown section [[listeners]]",
               "'listener'"},
        Faulty{"[leek]\nhorizon = \"7d\"\n", 1, 2, "unknown section [leek]",
               "did you mean 'leak'?"},
        Faulty{"[leak]\nwindows = [\"6h\", \"30m\"]\n", 2, 11, "are not apart", "ascending"},
        Faulty{"[leak]\nwindows = [\"30ms\"]\n", 2, 11, "below a second", "a second"},
        Faulty{"[leak]\naction = \"cancel\"\n", 2, 10, "'action' cannot be \"cancel\"", "observe"},
        Faulty{"[leak]\nwindows = [\"1s\", \"2s\", \"4s\", \"8s\", \"16s\"]\n", 2, 11,
               "too many windows: 5", "four"},
        Faulty{"[identity]\nsources = [\"listner\"]\n", 2, 12, "\"listner\" is no source",
               "did you mean \"listener\"?"},
        Faulty{"[identity]\nclient_map = [ { as = \"x\" } ]\n", 2, 16, "has no 'clients'",
               "10.20.4.0/24"},
        Faulty{"[recording]\nmax_size = \"1KiB\"\n", 2, 12, "too little", "64KiB"},
        Faulty{"[recording]\nkeep = 0\n", 2, 8, "", ""},
        Faulty{"[identity]\nfold = [ { match = 'a(', as = \"x\" } ]\n", 2, 21, "missing", ""},
        Faulty{"[[pool]]\nname = \"q\"\n", 1, 3, "unknown section [[pool]]", "known here"},
        Faulty{"[[quota]]\nname = \"q\"\nkey = \"user\"\n", 1, 1, "limits nothing",
               "sessions = 60"},
        Faulty{"[[quota]]\nname = \"q\"\nkey = \"role\"\nsessions = 1\n", 3, 7, "role", "user"},
        Faulty{"[enforcement]\npoll_interval = \"2s\"\n", 2, 1, "unknown key 'poll_interval'",
               "is a key of [server.monitor]"},
        Faulty{"mode = \"enforce\"\n", 1, 1, "unknown key 'mode' in the top of the file",
               "is a key of [enforcement]"},
        Faulty{"[[listener]]\ncolour = \"off\"\n", 2, 1, "unknown key 'colour' in [[listener]]",
               "known here"},
        Faulty{"[[listener]]\nkeepalive = { idel = \"60s\" }\n", 2, 15,
               "unknown key 'idel' in [listener.keepalive]", "'idle'"},
        Faulty{"[[server]]\nname = \"s\"\nhost = \"db\"\n[server.monitor]\nport = 5433\n", 5, 1,
               "unknown key 'port'", "is a key of [[server]]"},
        Faulty{"[[server]]\nname = \"s\"\nhost = \"db\"\nhosts = [\"a\"]\n", 4, 1,
               "unknown key 'hosts'", "'host'"}));

INSTANTIATE_TEST_SUITE_P(
    Types, Faults,
    ::testing::Values(
        Faulty{"[[rule]]\nname = \"r\"\nkind = \"statement\"\nlimit = 90\n", 4, 9,
               "not a whole number", "write limit = \"90s\""},
        Faulty{"[[rule]]\nname = \"r\"\nkind = \"statement\"\nlimit = 5000\n", 4, 9,
               "not a whole number", "\"5000s\", or \"5s\" if milliseconds"},
        Faulty{"[[rule]]\nname = \"r\"\nkind = \"statement\"\nlimit = 0\n", 4, 9,
               "not a whole number", "limit = \"off\""},
        Faulty{"[[rule]]\nname = \"r\"\nkind = \"statement\"\nlimit = false\n", 4, 9,
               "not true or false", "limit = \"off\""},
        Faulty{"[process]\ndrain_timeout = 1.5\n", 2, 17, "not a fraction", ""},
        Faulty{"[process]\nname = 7\n", 2, 8, "takes a string, not a whole number", "name = \"7\""},
        Faulty{"[process]\nname = [\"a\"]\n", 2, 8, "takes a string, not a list", "name = \"a\""},
        Faulty{"[process]\nmax_sessions = \"5000\"\n", 2, 16, "takes a whole number, not a string",
               "max_sessions = 5000"},
        Faulty{"[process]\nworkers = \"many\"\n", 2, 11, "a whole number or \"auto\", not a string",
               ""},
        Faulty{"[process]\nname = 12:00:00\n", 2, 8, "not a date or time", ""},
        Faulty{"[protect]\nsuperusers = \"true\"\n", 2, 14, "takes true or false, not a string",
               "superusers = true"},
        Faulty{"[protect]\nsuperusers = 1\n", 2, 14, "takes true or false", ""},
        Faulty{"[protect]\nusers = 'batch'\n", 2, 9, "takes a list of strings",
               "users = [\"batch\"]"},
        Faulty{"[protect]\nusers = ['a', 7]\n", 2, 15, "takes a string", "\"7\""},
        Faulty{"process = 1\n", 1, 11, "'process' is a section, not a whole number",
               "write [process]"},
        Faulty{"[[process]]\nname = \"x\"\n", 1, 1, "[process] stands once", "single brackets"},
        Faulty{"[rule]\nname = \"r\"\n", 1, 1, "'rule' may stand several times",
               "write [[rule]] in double brackets"},
        Faulty{"rule = [1]\n", 1, 9, "'rule' takes sections, not a whole number", ""},
        Faulty{"[[server]]\nname = \"s\"\nhost = \"db\"\nmonitor = \"off\"\n", 4, 11,
               "'monitor' is a section, not a string", "or \"none\""}));

INSTANTIATE_TEST_SUITE_P(
    PaceAndFuse, Faults,
    ::testing::Values(
        Faulty{"[enforcement.fuse]\nshare_of_sessions = 20\n", 2, 21,
               "takes a percentage such as \"20%\", not a whole number",
               "write share_of_sessions = \"20%\""},
        Faulty{"[enforcement.fuse]\nshare_of_sessions = 0.2\n", 2, 21, "not a fraction", ""},
        Faulty{"[enforcement.fuse]\nshare_of_sessions = \"20\"\n", 2, 21, "no percent sign",
               "write \"20%\""},
        Faulty{"[enforcement.fuse]\nrecovered_share = \"0%\"\n", 2, 19, "out of range",
               "\"1%\" to \"100%\""},
        Faulty{"[enforcement.fuse]\nrecovered_share = \"101%\"\n", 2, 19, "out of range", "100%"},
        Faulty{"[enforcement.fuse]\nrecovered_share = \"a third\"\n", 2, 19, "is no percentage",
               "\"20%\""},
        Faulty{"[enforcement.fuse]\nrecovered_share = \"-5%\"\n", 2, 19, "is no percentage", ""},
        Faulty{"[enforcement.fuse]\nrecovered_share = \"2.5%\"\n", 2, 19, "is no percentage", ""},
        Faulty{"[enforcement.fuse]\nat_least = 0\n", 2, 12, "out of range: 0", "from 1"},
        Faulty{"[enforcement.fuse]\nsurvived = \"3\"\n", 2, 12, "takes a whole number",
               "survived = 3 without quotes"},
        Faulty{"[enforcement.fuse]\nreset = \"off\"\n", 2, 9, "'reset' cannot be off",
               "write reset = \"manual\""},
        Faulty{"[enforcement.fuse]\nreset = 30\n", 2, 9, "or \"manual\", not a whole number",
               "\"30s\""},
        Faulty{"[enforcement.fuse]\nshare_of_session = \"20%\"\n", 2, 1,
               "unknown key 'share_of_session' in [enforcement.fuse]",
               "did you mean 'share_of_sessions'?"},
        Faulty{"[enforcement.pace]\nkills_per_minute = 0\n", 2, 20, "out of range: 0",
               "from 1 to 100000"},
        Faulty{"[enforcement.pace]\nkill_per_minute = 5\n", 2, 1, "unknown key 'kill_per_minute'",
               "did you mean 'kills_per_minute'?"},
        Faulty{"[enforcement.pase]\nkills_per_minute = 5\n", 1, 14, "unknown section", "'pace'"},
        Faulty{"[enforcement.pace]\nkills_per_minute = 5\n", 2, 20,
               "kills_per_minute_per_application is above kills_per_minute",
               "the smaller one rules", Severity::warning},
        Faulty{"[enforcement]\nhold_after_failover = 5\n", 2, 23, "not a whole number",
               "hold_after_failover = \"5s\""},
        Faulty{"[process]\nwatch_config = \"true\"\n", 2, 16, "takes true or false",
               "watch_config = true without quotes"}));

INSTANTIATE_TEST_SUITE_P(
    Durations, Faults,
    ::testing::Values(
        Faulty{"[process]\ndrain_timeout = \"0s\"\n", 2, 17, "zero is no duration", "25ms"},
        Faulty{"[process]\ndrain_timeout = \"10ms\"\n", 2, 17, "too short", "25ms"},
        Faulty{"[process]\ndrain_timeout = \"off\"\n", 2, 17, "cannot be off", "90s"},
        Faulty{"[process]\ndrain_timeout = \"90\"\n", 2, 17, "has no unit", "\"90s\""},
        Faulty{"[process]\ndrain_timeout = \"1.5h\"\n", 2, 17, "no duration", "\"1h30m\""},
        Faulty{"[process]\ndrain_timeout = \"9 min\"\n", 2, 17, "no duration", "\"9m\""},
        Faulty{"[process]\ndrain_timeout = \"-5s\"\n", 2, 17, "has a sign", ""},
        Faulty{"[[listener]]\nkeepalive = { idle = \"500ms\" }\n", 2, 22, "too short for 'idle'",
               "\"1s\""},
        Faulty{"[[listener]]\nkeepalive = { idle = \"1d\" }\n", 2, 22, "too long for 'idle'",
               "\"9h6m7s\""},
        Faulty{"[[server]]\nname = \"s\"\nhost = \"db\"\nuser_timeout = \"30d\"\n", 4, 16,
               "too long for 'user_timeout'", "24d"}));

INSTANTIATE_TEST_SUITE_P(
    Values, Faults,
    ::testing::Values(
        Faulty{"config_version = 2\n", 1, 18, "out of range: 2", "from 1 to 1"},
        Faulty{"[process]\nworkers = 0\n", 2, 11, "out of range: 0", "or \"auto\""},
        Faulty{"[process]\nmax_sessions = -1\n", 2, 16, "out of range: -1", "from 1"},
        Faulty{"[process]\nname = \"a b\"\n", 2, 8, "cannot be an instance's name", "hostname"},
        Faulty{"[process]\nlog_format = \"jsn\"\n", 2, 14, "cannot be \"jsn\"",
               "did you mean \"json\"?"},
        Faulty{"[process]\nengine = \"uring\"\n", 2, 10, "cannot be \"uring\"", "io_uring"},
        Faulty{"[process]\nlog_format = \"xml\"\n", 2, 14, "cannot be \"xml\"",
               "one of auto, text or json"},
        Faulty{"[[rule]]\nname = \"Bad Name\"\nkind = \"statement\"\nlimit = \"1h\"\n", 2, 8,
               "cannot be a name", "a-z"},
        Faulty{"[[rule]]\nname = \"r\"\nkind = \"idle_in_tx\"\nlimit = \"1h\"\n", 3, 8,
               "'kind' cannot be", "one of idle, idle_in_transaction"},
        Faulty{
            "[[rule]]\nname = \"r\"\nkind = \"aborted\"\nlimit = \"1h\"\naction = \"terminat\"\n",
            5, 10, "'action' cannot be", "\"terminate\""},
        Faulty{RULE "sqlstate = \"57p05\"\n", 5, 12, "not an SQLSTATE", "native"},
        Faulty{RULE "sqlstate = \"00000\"\n", 5, 12, "does not mean an error", ""},
        Faulty{RULE "hint = \"a\\nb\"\n", 5, 8, "control character", "one line"},
        Faulty{"[[listener]]\napplication = \"\"\n", 2, 15, "application_name", "off"},
        Faulty{"[audit]\nfile = \"\"\n", 2, 8, "no path", ""},
        Faulty{"[console]\nsocket = \"run/pgleash\"\n", 2, 10, "no directory", "absolute"},
        Faulty{"[console]\nviewers = [\"\"]\n", 2, 12, "", ""},
        Faulty{"[audit]\nfsync = \"always\"\n", 2, 9, "cannot be \"always\"", "each or off"}));

INSTANTIATE_TEST_SUITE_P(
    Missing, Faults,
    ::testing::Values(
        Faulty{"[[rule]]\nkind = \"aborted\"\nlimit = \"1h\"\n", 1, 1, "[[rule]] has no 'name'",
               "name = "},
        Faulty{"[[rule]]\nname = \"r\"\nlimit = \"1h\"\n", 1, 1, "[[rule]] has no 'kind'",
               "kind = "},
        Faulty{"\n[[rule]]\nname = \"r\"\nkind = \"aborted\"\naction = \"terminate\"\n", 2, 1,
               "[[rule]] has no 'limit'", "\"off\""},
        Faulty{"[[server]]\nhost = \"db\"\n", 1, 1, "[[server]] has no 'name'", "name = "},
        Faulty{"# a host of a server\n", 0, 0, "no [[server]]", "write [[server]]"},
        Faulty{"[protect]\nentries = [ { application = 'pg_dump' } ]\n", 2, 13, "has no 'users'",
               "never exempts"}));

INSTANTIATE_TEST_SUITE_P(
    AddressesAndNetworks, Faults,
    ::testing::Values(
        Faulty{"[[listener]]\nlisten = [\"127.0.0.1\"]\n", 2, 11, "has no port",
               "\"127.0.0.1:6432\""},
        Faulty{"[[listener]]\nlisten = [\"127.0.0.1:65536\"]\n", 2, 11, "not a port", "65535"},
        Faulty{"[[listener]]\nlisten = [\"127.0.0.1:0\"]\n", 2, 11, "not a port", "1 to"},
        Faulty{"[[listener]]\nlisten = [\"300.0.0.1:6432\"]\n", 2, 11, "not an IPv4 address", ""},
        Faulty{"[[listener]]\nlisten = [\"::1\"]\n", 2, 11, "brackets", "\"[::1]:6432\""},
        Faulty{"[[listener]]\nlisten = [\"*:6432\"]\n", 2, 11, "\"*\"", "0.0.0.0"},
        Faulty{"[[listener]]\nlisten = [\":6432\"]\n", 2, 11, "empty", "0.0.0.0"},
        Faulty{"[[listener]]\nlisten = [\"[::1]6432\"]\n", 2, 11, "behind its ]", "\"[::1]:6432\""},
        Faulty{"[[listener]]\nlisten = []\n", 2, 10, "empty list", ""},
        Faulty{"[[listener]]\nlisten = \"127.0.0.1:6432\"\n", 2, 10, "list of strings",
               "[\"127.0.0.1:6432\"]"},
        Faulty{"[[listener]]\nallow = [\"10.20.3.4/16\"]\n", 2, 10, "bits set beyond its prefix",
               "\"10.20.0.0/16\" for the network, \"10.20.3.4/32\""},
        Faulty{"[[listener]]\nallow = [\"10.0.0.0/33\"]\n", 2, 10, "not a prefix length",
               "0 to 32"},
        Faulty{"[[listener]]\nallow = [\"10.0.0.1\"]\n", 2, 10, "an address, not a network",
               "\"10.0.0.1/32\""},
        Faulty{"[[listener]]\nallow = [\"::/0\", \"db/8\"]\n", 2, 18, "not a network", "prefix"},
        Faulty{"[metrics]\nlisten = \"/run/pgleash\"\n", 2, 10, "TCP only", "off"},
        Faulty{"[[server]]\nname = \"s\"\nhost = \"db:5433\"\n", 3, 8, "has a port in it",
               "host = \"db\" and port = 5433"},
        Faulty{"[[server]]\nname = \"s\"\nhost = \"[::1]\"\n", 3, 8, "without brackets",
               "host = \"::1\""},
        Faulty{"[[server]]\nname = \"s\"\nhost = \"db one\"\n", 3, 8,
               "neither an address nor a host name", ""},
        Faulty{"[[server]]\nname = \"s\"\nhost = \"db\"\nport = 70000\n", 4, 8, "out of range",
               "65535"}));

INSTANTIATE_TEST_SUITE_P(
    Patterns, Faults,
    ::testing::Values(
        Faulty{RULE "[rule.match]\nusers = ['ok', 'web-[a-z']\n", 6, 21, "missing ]",
               "close the ["},
        Faulty{RULE "[rule.match]\nusers = ['web)']\n", 6, 11, "unexpected )", "\\("},
        Faulty{RULE "[rule.match]\napplications = ['*-job']\n", 6, 18, "repetition", "'.*-job'"},
        Faulty{RULE "[rule.match]\nusers = [\"*\"]\n", 6, 10, "repetition", "'.*'"},
        Faulty{RULE "[rule.match]\nusers = ['a\\']\n", 6, 12, "trailing \\", "\\\\"},
        Faulty{RULE "[rule.match]\nusers = []\n", 6, 9, "empty list", "leave the key out"},
        Faulty{RULE "[rule.except]\nclients = []\n", 6, 11, "empty list", "leave the key out"},
        Faulty{RULE "[rule.except]\nusers = ['']\n", 6, 10, "matches nobody", "'.*'"},
        Faulty{"[protect]\nentries = [ { application = 'pg_(', users = ['b'] } ]\n", 2, 30,
               "missing )", "close"},
        Faulty{"[identity]\ndriver_defaults = ['a{2,1}']\n", 2, 22, "repetition size", "1000"}));

#define HOG(kind) "[[rule]]\nname = \"r\"\nkind = \"" kind "\"\nlimit = \"10s\"\n"

INSTANTIATE_TEST_SUITE_P(
    Measures, Faults,
    ::testing::Values(
        Faulty{HOG("temp_bytes"), 1, 1, "'temp_bytes' needs a 'value'", "\"20GiB\""},
        Faulty{HOG("rows"), 1, 1, "'rows' needs a 'value'", "value = 1000000"},
        Faulty{HOG("temp_bytes") "value = 20\n", 5, 9, "takes a string such as \"20GiB\"",
               "\"20GiB\""},
        Faulty{HOG("temp_bytes") "value = \"20GB\"\n", 5, 9, "is no size", "\"20GiB\""},
        Faulty{HOG("rows") "value = \"1000\"\n", 5, 9, "takes a whole number",
               "value = 1000 without quotes"},
        Faulty{HOG("locks") "value = 0\n", 5, 9, "out of range", "1 is the least"},
        Faulty{HOG("locks") "value = -7\n", 5, 9, "out of range", "1 is the least"},
        Faulty{HOG("cpu_time") "value = \"2\"\n", 5, 9, "has no unit", "\"2s\""},
        Faulty{HOG("cpu_share") "value = \"150\"\n", 5, 9, "has no unit", "\"150%\""},
        Faulty{HOG("read_rate") "value = \"10MiB\"\n", 5, 9, "a rate is wanted", "\"10MiB/s\""},
        Faulty{HOG("idle") "value = \"10MiB\"\n", 5, 9, "'idle' has no 'value'", "'limit'"},
        Faulty{HOG("temp_byte") "value = 7\n", 3, 8, "'kind' cannot be", "temp_bytes"},
        Faulty{"[[rule]]\nname = \"r\"\nkind = \"locks\"\nlimit = \"1s\"\nvalue = 9\n", 4, 9,
               "shorter than the poll_interval", "each 2s", Severity::warning},
        Faulty{HOG("wal") "value = \"1GiB\"\n", 3, 8, "has no data", "write_rate",
               Severity::warning},
        Faulty{HOG("locks") "value = 9\n[[server]]\nname = \"s\"\nhost = \"db\"\nmonitor = "
                            "\"none\"\n",
               3, 8, "which has no monitor", "sent_bytes", Severity::warning},
        Faulty{"[protect]\nmarker = \"*/\"\n", 2, 10, "cannot be a marker", "pgleash:keep"},
        Faulty{"[protect]\nmarker_users = ['a(']\n", 2, 18, "missing )", "close"}));

INSTANTIATE_TEST_SUITE_P(
    Secrets, Faults,
    ::testing::Values(
        Faulty{
            "[[server]]\nname = \"s\"\nhost = \"db\"\n[server.monitor]\npassword = \"hunter2\"\n",
            5, 1, "secret", "password_file"},
        Faulty{"[metrics]\nToken = \"hunter2\"\n", 2, 1, "secret", "password_file"},
        Faulty{"[[server]]\nname = \"s\"\nhost = \"db\"\n[server.monitor]\npassword_file = "
               "\"/nonexistent/monitor.pw\"\n",
               5, 17, "cannot find \"/nonexistent/monitor.pw\"", "relative paths"},
        Faulty{"[[server]]\nname = \"s\"\nhost = \"db\"\n[server.monitor]\npassword_file = \"/\"\n",
               5, 17, "not a plain file", ""}));

INSTANTIATE_TEST_SUITE_P(
    KeysOfOneKind, Faults,
    ::testing::Values(
        Faulty{RULE "victim = \"root\"\n", 5, 10,
               "'victim' means nothing to a rule of kind 'statement'", "kind 'blocking'"},
        Faulty{RULE "at_least = 5\n", 5, 12, "'at_least' means nothing", "kind 'group'"},
        Faulty{
            "[[rule]]\nname = \"r\"\nkind = \"blocking\"\nlimit = \"1m\"\ngroup_by = \"client\"\n",
            5, 12, "'group_by' means nothing to a rule of kind 'blocking'", "kind 'group'"},
        Faulty{"[[rule]]\nname = \"r\"\nkind = \"blocking\"\nlimit = \"1m\"\naction = \"cancel\"\n",
               5, 10, "kind 'blocking' cannot cancel", "a root may be idle"},
        Faulty{"[[rule]]\nname = \"r\"\nkind = \"blocking\"\nlimit = \"1m\"\nvictim = \"none\"\n"
               "action = \"terminate\"\n",
               6, 10, "a rule without a victim cannot terminate", "observe"},
        Faulty{"[[rule]]\nname = \"r\"\nkind = \"group\"\nlimit = \"1m\"\nat_least = 1\n", 5, 12,
               "out of range: 1", "from 2"},
        Faulty{"[[rule]]\nname = \"r\"\nkind = \"group\"\nlimit = \"1m\"\nvictims = \"newest\"\n",
               5, 11, "'victims' cannot be", "oldest, all or all_but_oldest"}));

INSTANTIATE_TEST_SUITE_P(
    SectionsTogether, Faults,
    ::testing::Values(
        Faulty{"[[rule]]\nname = \"r\"\nkind = \"idle_in_transaction\"\nlimit = \"1h\"\naction = "
               "\"cancel\"\n",
               5, 10, "kind 'idle_in_transaction' cannot cancel", "observe or terminate"},
        Faulty{"[[rule]]\nname = \"r\"\nkind = \"transaction_age\"\nlimit = \"1h\"\naction = "
               "\"cancel\"\n",
               5, 10, "kind 'transaction_age' cannot cancel", "observe, terminate or escalate"},
        Faulty{RULE "warn = \"1h\"\n", 5, 8, "no earlier than the limit of 1h", "below"},
        Faulty{RULE "[[rule]]\nname = \"r\"\nkind = \"held\"\nlimit = \"1h\"\n", 6, 8,
               "a second [[rule]] is named \"r\"", "name of its own"},
        Faulty{
            "[[rule]]\nname = \"r\"\nkind = \"statement\"\nlimit = \"off\"\naction = \"cancel\"\n",
            4, 9, "never acts", "limit", Severity::warning},
        Faulty{"[[rule]]\nname = \"r\"\nkind = \"statement\"\nlimit = \"off\"\n", 4, 9,
               "does nothing", "", Severity::warning},
        Faulty{RULE "sqlstate = \"57P01\"\n", 5, 12, "Npgsql", "native", Severity::warning},
        Faulty{"[[rule]]\nname = \"r\"\nkind = \"statement\"\nlimit = \"1h\"\nnotify = "
               "\"on_next_use\"\n",
               5, 10, "kind 'statement' cannot notify on_next_use", "write \"eager\""},
        Faulty{"[[rule]]\nname = \"r\"\nkind = \"idle\"\nlimit = \"1h\"\nnotify = \"lazy\"\n", 5,
               10, "'notify' cannot be", "eager or on_next_use"},
        Faulty{"[[rule]]\nname = \"r\"\nkind = \"idle\"\nlimit = \"1h\"\nnotify = "
               "\"on_next_use\"\nnotify_within = \"off\"\n",
               6, 17, "'notify_within' cannot be off", ""},
        Faulty{"[[rule]]\nname = \"r\"\nkind = \"idle\"\nlimit = \"1h\"\nnotify_within = \"1m\"\n",
               5, 17, "'notify_within' is not used", "notify = \"on_next_use\"", Severity::warning},
        Faulty{"[[listener]]\nserver = \"order\"\n[[server]]\nname = \"orders\"\nhost = \"db\"\n",
               2, 10, "unknown server \"order\"", "did you mean \"orders\"?"},
        Faulty{"[[listener]]\n[[server]]\nname = \"a\"\nhost = \"db\"\n[[server]]\nname = "
               "\"b\"\nhost = \"db2\"\n",
               1, 1, "does not say which server", "\"a\""},
        Faulty{"[[listener]]\n[[listener]]\nlisten = [\"[::1]:6432\"]\n", 2, 1,
               "a second [[listener]] is named \"main\"", ""},
        Faulty{"[[listener]]\nlisten = [\"127.0.0.1:6432\", \"0.0.0.0:6432\"]\n", 2, 29,
               "taken by listener[0].listen[0]", "once"},
        Faulty{
            "[[listener]]\nlisten = [\"127.0.0.1:9732\"]\n[metrics]\nlisten = \"127.0.0.1:9732\"\n",
            4, 10, "taken by listener[0].listen[0]", ""},
        Faulty{"[http]\nlisten = \"127.0.0.1:9732\"\n", 2, 10, "taken by metrics.listen", ""},
        Faulty{"[http]\nlisten = \"0.0.0.0:9733\"\n", 2, 10,
               "0.0.0.0:9733 is not loopback, and the status page is without TLS and a token",
               "ssh -L"},
        Faulty{"[http]\nlisten = \"127.evil.example:9733\"\n", 2, 10, "is not loopback", ""},
        Faulty{"[http]\nlisten = \"[::]:9733\"\n", 2, 10, "without TLS and a token", "token_file"},
        Faulty{"[[listener]]\nlisten = [\"127.0.0.1:5432\"]\n[[server]]\nname = \"s\"\nhost = "
               "\"127.0.0.1\"\n",
               2, 11, "is the address of server \"s\"", "connect to itself"},
        Faulty{"[enforcement]\nmode = \"enforce\"\n[[rule]]\nname = \"r\"\nkind = \"held\"\nlimit "
               "= \"1h\"\naction = \"terminate\"\n",
               2, 8, "enforce mode without an audit log", "[audit]"},
        Faulty{"[enforcement]\nmode = \"enforce\"\n[audit]\nsink = \"stdout\"\n", 2, 8,
               "every rule only observes", "action = ", Severity::warning},
        Faulty{"[audit]\nsink = \"file\"\n", 2, 8, "has no file", "file = "},
        Faulty{"[audit]\nsink = \"stdout\"\nfile = \"a.jsonl\"\n", 3, 8, "is not used",
               "sink = \"file\"", Severity::warning},
        Faulty{"[enforcement]\nevidence_max_age = \"1s\"\n", 2, 20,
               "shorter than the poll_interval", "exempt", Severity::warning}));

TEST(AllFaults, OfOneFileAreReportedInFileOrder) {
  const LoadResult result = load(
      "[process]\n"
      "max_session = 5\n"
      "[[listener]]\n"
      "listen = [\"127.0.0.1\", \"[::1]:0\"]\n"
      "server = \"nowhere\"\n"
      "[[rule]]\n"
      "name = \"a\"\n"
      "kind = \"held\"\n"
      "limit = 90\n"
      "action = \"cancel\"\n"
      "[rule.match]\n"
      "users = ['(']\n"
      "[[rule]]\n"
      "name = \"a\"\n"
      "kind = \"statement\"\n"
      "limit = \"1m\"\n"
      "warn = \"2m\"\n"
      "[hooks]\n"
      "[[server]]\n"
      "name = \"s\"\n"
      "host = \"db\"\n");
  std::vector<std::pair<std::uint32_t, std::uint32_t>> places;
  for (const Diagnostic& found : result.diagnostics)
    places.emplace_back(found.position.line, found.position.column);
  EXPECT_THAT(places, ::testing::ElementsAre(std::pair(2, 1), std::pair(4, 11), std::pair(4, 24),
                                             std::pair(5, 10), std::pair(9, 9), std::pair(10, 10),
                                             std::pair(12, 11), std::pair(14, 8), std::pair(17, 8),
                                             std::pair(18, 2)));
  EXPECT_FALSE(result.config.has_value());
}

TEST(AllFaults, AnUnreadableKeyIsNotJudgedAsIfItHadItsDefault) {
  // `limit` was meant to be 90 s: "its limit is off" would be nonsense, and so would "no audit
  // log".
  const LoadResult result = load(
      "[enforcement]\nmode = \"enforce\"\n"
      "[[rule]]\nname = \"a\"\nkind = \"held\"\nlimit = 90\naction = \"terminate\"\n"
      "[audit]\nsink = \"fil\"\n");
  ASSERT_THAT(result.diagnostics, SizeIs(2));
  EXPECT_THAT(result.diagnostics[0].hint, HasSubstr("\"90s\""));
  EXPECT_THAT(result.diagnostics[1].hint, HasSubstr("\"file\""));
}

TEST(AllFaults, AKeyOfTenThousandPartsIsRefusedAndNotFollowed) {
  std::string key = "a";
  for (int i = 0; i < 10'000; ++i) key += ".a";
  for (const std::string& text : {key + " = 1\n", '[' + key + "]\n"}) {
    const LoadResult result = load_text(text, "f");
    ASSERT_THAT(result.diagnostics, SizeIs(1));
    EXPECT_THAT(result.diagnostics.front().message, HasSubstr("parts"));
  }
}

TEST(AllFaults, ManyDotsInACommentOrAStringAreNoDeepKey) {
  const std::string dots(300, '.');
  const LoadResult result =
      load("# " + dots + "\n" RULE "hint = \"" + dots + "\" # " + dots + '\n');
  EXPECT_THAT(result.diagnostics, IsEmpty());
}

}  // namespace
}  // namespace pgleash::config
