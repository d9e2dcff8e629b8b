#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <sys/stat.h>

namespace pgleash::config {

/// A folder of its own for one test.
class Folder {
 public:
  Folder() {
    std::string name = ::testing::TempDir() + "pgleash-config-XXXXXX";
    if (mkdtemp(name.data()) == nullptr) ADD_FAILURE() << "no folder " << name;
    path_ = name;
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  std::string write(const std::string& name, const std::string& text, mode_t mode = 0600) const {
    const std::string path = path_ / name;
    std::ofstream(path) << text;
    EXPECT_EQ(chmod(path.c_str(), mode), 0);
    return path;
  }
  [[nodiscard]] std::string path(const std::string& name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

/// What `everything` refers to: a secret is read while a file is checked.
inline const bool has_test_key = ::setenv("PGLEASH_TEST_HMAC_KEY", "0123456789abcdef", 1) == 0;

/// A configuration in which no key has its default.
inline constexpr const char* everything = R"([process]
name = "pod-7.example"
workers = 3
engine = "io_uring"
max_sessions = 10
max_logins = 9
drain_delay = "off"
drain_timeout = "1m"
log_format = "json"
watch_config = true
journal = "/var/lib/pgleash/sessions.journal"

[[listener]]
name = "web"
listen = ["0.0.0.0:7000", "[::1]:7000", "/run/pgleash:7001"]
server = "b"
allow = ["10.0.0.0/8", "fd00::/8"]
require_challenge = "always"
proxy_protocol = "require"
proxy_trusted = ["10.20.0.0/16", "fd00::/64"]
scram = "reoriginate"
application = "legacy \"app\""
login_timeout = "3s"
client_kind = "pooler"
on_client_gone = "finish"
client_gone_grace = "1s"
keepalive = { idle = "2m", interval = "20s", count = 5 }
user_timeout = "3m"

[[listener]]
name = "batch"
listen = ["/run/pgleash"]
server = "a"

[[server]]
name = "a"
host = "/var/run/postgresql"
port = 5433
connect_timeout = "2s"
monitor = "none"

[[server]]
name = "b"
host = "2001:db8::1"
tls = "require"
tls_negotiation = "direct"
direct_sessions = "judge"
application_name_suffix = "address_port"
[server.keepalive]
idle = "1m"
[server.monitor]
user = "o'brien \\ \"x\""
database = "ops"
poll_interval = "500ms"
statement_timeout = "1s"

[enforcement]
mode = "enforce"
hold_after_start = "off"
hold_after_failover = "off"
hold_after_reload = "1s"
evidence_max_age = "1m"
[enforcement.pace]
kills_per_minute = 60
kills_per_minute_per_application = 20
kills_per_minute_per_rule = 50
[enforcement.fuse]
share_of_sessions = "5%"
at_least = 3
recovered_share = "100%"
survived = 1
reset = "manual"

[protect]
users = ['replicator', "o'brien.*"]
clients = ["10.20.9.0/24"]
superusers = false
entries = [ { application = 'pg_dump', users = ['backup', "it's"] }, { application = 'etl', users = ['etl'] } ]
marker = "keep-me"
marker_users = ['batch.*']
marker_max = "10m"

[[rule]]
name = "web"
kind = "idle_in_transaction"
limit = "2m"
warn = "30s"
action = "terminate"
grace = "1s"
notify = "on_next_use"
notify_within = "3m"
sqlstate = "25P03"
hint = "say \"commit\" \\ é"
[rule.match]
applications = ['checkout-\d+', '']
users = ['web']
databases = ['orders']
clients = ["10.20.4.0/24"]
[rule.except]
applications = ['checkout-migrate']
users = ['batch']
databases = ['archive']
clients = ["10.20.4.17/32"]

[[rule]]
name = "watch-only"
kind = "session_age"
limit = "off"
warn = "1d"

[[rule]]
name = "queue"
kind = "blocking"
limit = "30s"
action = "escalate"
blocked_at_least = 5
victim = "queue_head"

[[rule]]
name = "stampede"
kind = "group"
limit = "10s"
action = "cancel"
group_by = "client"
at_least = 7
victims = "oldest"

[leak]
windows = ["2s", "10s"]
horizon = "1d"
idle_longer_than = "1s"
min_sessions = 8
action = "terminate"

[identity]
sources = ["client_map", "user_database"]
driver_defaults = ['psql']
client_map = [ { clients = ["10.20.4.0/24", "10.21.0.0/16"], as = "billing \\ \"x\"" } ]
fold = [ { match = 'checkout-[0-9]+', as = "checkout" }, { match = "it's", as = "its" } ]
follow_set = true

[[quota]]
name = "per-user"
key = "user"
sessions = 50
new_per_second = 7
sqlstate = "57P03"

[audit]
file = "/var/log/pgleash/audit.jsonl"
fsync = "off"
statement_text = "none"

[[webhook]]
name = "oncall"
url = "https://hooks.internal:8443/pgleash"
hmac_key = { env = "PGLEASH_TEST_HMAC_KEY" }
events = ["leak", "fuse"]
timeout = "3s"
queue = 7
retry_for = "2h"

[console]
database = "leash"
viewers = ["grafana", "o'neill"]
operators = ["alice"]
admins = ["dba"]
socket = "/run/pgleash"

[recording]
file = "/var/lib/pgleash/sessions.jsonl"
interval = "1m"
max_size = "1GiB"
keep = 3

[metrics]
listen = "off"
max_applications = 7

[http]
listen = "127.0.0.2:8080"
)";

}  // namespace pgleash::config
