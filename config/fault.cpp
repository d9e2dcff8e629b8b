#include "config/fault.hpp"

namespace pgleash::config {

std::string in_quotes(std::string_view text) {
  constexpr std::size_t longest = 60;
  if (text.size() <= longest) return '"' + std::string(text) + '"';
  std::size_t cut = longest;
  while (cut > 0 && (static_cast<unsigned char>(text[cut]) & 0xC0U) == 0x80U)
    --cut;  // whole UTF-8 only
  return '"' + std::string(text.substr(0, cut)) + "...\"";
}

}  // namespace pgleash::config
