#pragma once

#include <string>
#include <string_view>

namespace pgleash::proxy {

/// Takes out of an application's name what tells its copies apart: UUIDs, numbers set apart by
/// anything but a letter, hexadecimal ids, a number of three digits or more behind a word, and the
/// random suffixes of Kubernetes pods. `checkout-7d9f8b6c5-x2x9z` gives `checkout`, `worker-12`
/// gives `worker`, `app - 4711` gives `app`. A name that is nothing else stays as it is. Pure.
[[nodiscard]] std::string fold_name(std::string_view name);

}  // namespace pgleash::proxy
