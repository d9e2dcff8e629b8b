#include "app/load.hpp"

#include "proxy/tls_context.hpp"

namespace pgleash::app {

namespace {

config::LoadResult with_files_checked(config::LoadResult loaded) {
  if (!loaded.config) return loaded;
  const auto tls = proxy::make_tls(*loaded.config, loaded.provenance, loaded.diagnostics);
  if (!tls) loaded.config.reset();
  return loaded;
}

}  // namespace

config::LoadResult load_checked(const std::string& file) {
  return with_files_checked(config::load_file(file));
}

config::LoadResult load_checked(const config::CommandLine& line) {
  return with_files_checked(config::from_command_line(line));
}

}  // namespace pgleash::app
