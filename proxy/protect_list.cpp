#include "proxy/protect_list.hpp"

#include <algorithm>

namespace pgleash::proxy {

ProtectList::ProtectList(const config::Protect& protect)
    : superusers_(protect.superusers), clients_(protect.clients) {
  for (const config::Pattern& user : protect.users) (void)users_.add(user.text);
  for (const config::ProtectEntry& entry : protect.entries) {
    Entry& compiled = entries_.emplace_back();
    (void)compiled.application.add(entry.application);
    for (const std::string& user : entry.users) (void)compiled.users.add(user);
  }
}

bool ProtectList::spares(const SessionIdentity& who, bool superuser) const {
  if (superusers_ && superuser) return true;
  if (users_.match(who.user) || clients_.contain(who.client.address)) return true;
  return std::ranges::any_of(entries_, [&](const Entry& entry) {
    return entry.application.match(who.application) && entry.users.match(who.user);
  });
}

}  // namespace pgleash::proxy
