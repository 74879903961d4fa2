#include "pipeline/build_id.h"

#include <cstddef>
#include <cstdint>
#include <cstring>

#include <elf.h>
#include <link.h>

namespace regraft::pipeline {
namespace {

constexpr size_t round_up(size_t size) { return (size + 3) / 4 * 4; }

// The notes of one segment: pairs of a name and a descriptor, each padded to 4 bytes.
std::string id_in_notes(const std::byte* at, size_t bytes) {
  ElfW(Nhdr) note;
  while (bytes >= sizeof note) {
    std::memcpy(&note, at, sizeof note);
    const size_t name = round_up(note.n_namesz),
                 size = sizeof note + name + round_up(note.n_descsz);
    if (size > bytes) break;
    if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 &&
        std::memcmp(at + sizeof note, "GNU", 4) == 0) {
      std::string text;
      for (size_t i = 0; i < note.n_descsz; ++i) {
        const auto byte = std::to_integer<unsigned>(at[sizeof note + name + i]);
        text += "0123456789abcdef"[byte >> 4u];
        text += "0123456789abcdef"[byte & 15u];
      }
      return text;
    }
    at += size;
    bytes -= size;
  }
  return "";
}

// Fills `out` for the object whose loaded segments hold this very function.
int visit(dl_phdr_info* info, size_t, void* out) {
  const auto here = reinterpret_cast<uintptr_t>(&visit);
  bool is_ours = false;
  std::string id;
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    const ElfW(Phdr) & segment = info->dlpi_phdr[i];
    const uintptr_t begin = info->dlpi_addr + segment.p_vaddr;
    if (segment.p_type == PT_LOAD && here >= begin && here - begin < segment.p_memsz) {
      is_ours = true;
    }
    if (segment.p_type == PT_NOTE && id.empty()) {
      id = id_in_notes(reinterpret_cast<const std::byte*>(begin), segment.p_memsz);
    }
  }
  if (!is_ours) return 0;
  *static_cast<std::string*>(out) = id;
  return 1;
}

}  // namespace

const std::string& build_id() {
  static const std::string id = [] {
    std::string found;
    ::dl_iterate_phdr(&visit, &found);
    return found;
  }();
  return id;
}

}  // namespace regraft::pipeline
