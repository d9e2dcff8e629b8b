#include "proxy/protect_list.hpp"

#include "config/network.hpp"

#include <gtest/gtest.h>

#include <variant>

namespace pgleash::proxy {
namespace {

SessionIdentity who(std::string user, std::string address, std::string application) {
  SessionIdentity made;
  made.user = std::move(user);
  made.client.address = std::move(address);
  made.application = std::move(application);
  return made;
}

config::Network network(std::string_view text) {
  auto parsed = config::parse_network(text);
  return std::get<config::Network>(std::move(parsed));
}

TEST(ProtectList, SparesNobodyButSuperusersByDefault) {
  const ProtectList list{config::Protect{}};
  EXPECT_FALSE(list.spares(who("app", "10.0.0.1", "web"), false));
  EXPECT_TRUE(list.spares(who("app", "10.0.0.1", "web"), true));
}

TEST(ProtectList, SparesNoSuperuserWhenTheSectionSaysSo) {
  config::Protect protect;
  protect.superusers = false;
  EXPECT_FALSE(ProtectList{protect}.spares(who("postgres", "", "psql"), true));
}

TEST(ProtectList, MatchesWholeNamesOfAnyBytes) {
  config::Protect protect;
  protect.users = {{"batch.*", {}}};
  const ProtectList list{protect};
  EXPECT_TRUE(list.spares(who("batch", "", ""), false));
  EXPECT_TRUE(list.spares(who("batch\n\xE9", "", ""), false)) << "a newline, and no UTF-8";
  EXPECT_FALSE(list.spares(who("mybatch", "", ""), false));
}

TEST(ProtectList, FindsAClientInItsNetwork) {
  config::Protect protect;
  protect.clients = {network("10.20.0.0/16"), network("fd00::/8")};
  const ProtectList list{protect};
  EXPECT_TRUE(list.spares(who("app", "10.20.3.4", ""), false));
  EXPECT_TRUE(list.spares(who("app", "::ffff:10.20.3.4", ""), false));
  EXPECT_TRUE(list.spares(who("app", "fd12::1%eth0", ""), false));
  EXPECT_FALSE(list.spares(who("app", "10.21.3.4", ""), false));
  EXPECT_FALSE(list.spares(who("app", "", ""), false)) << "a Unix socket is in no network";
}

TEST(ProtectList, WantsApplicationAndUserOfAnEntry) {
  config::Protect protect;
  protect.entries = {{"pg_dump", {"backup", "dba"}, {}}};
  const ProtectList list{protect};
  EXPECT_TRUE(list.spares(who("dba", "", "pg_dump"), false));
  EXPECT_FALSE(list.spares(who("app", "", "pg_dump"), false));
  EXPECT_FALSE(list.spares(who("dba", "", "psql"), false));
}

}  // namespace
}  // namespace pgleash::proxy
