#pragma once

#include "config/loader.hpp"

#include <string>

namespace pgleash::app {

/// Reads and checks a configuration file with all that it names: the certificates and keys too,
/// which `config` alone cannot judge.
[[nodiscard]] config::LoadResult load_checked(const std::string& file);
/// The same of a command line.
[[nodiscard]] config::LoadResult load_checked(const config::CommandLine& line);

}  // namespace pgleash::app
