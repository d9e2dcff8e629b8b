#include "app/load.hpp"

#include "proxy/tls_context.hpp"

namespace pgleash::app {

config::LoadResult load_checked(const std::string& file) {
  config::LoadResult loaded = config::load_file(file);
  if (!loaded.config) return loaded;
  const auto tls = proxy::make_tls(*loaded.config, loaded.provenance, loaded.diagnostics);
  if (!tls) loaded.config.reset();
  return loaded;
}

}  // namespace pgleash::app
