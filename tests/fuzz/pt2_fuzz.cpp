// Any bytes read as a .pt2 file: values or Error, nothing else.
#include "consume.h"
#include "sources/pt2.h"

namespace regraft {
namespace {

void read(sources::Record file) {
  const auto archive = sources::Pt2Archive::from_memory(std::move(file), "fuzz");
  for (const std::string& name : archive->models()) {
    try {
      archive->model_json(name);
    } catch (const Error&) {
      // Does not inflate; the tensors may.
    }
  }
  fuzz::consume(*sources::make_pt2_source(archive));
}

}  // namespace
}  // namespace regraft

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    regraft::read(regraft::fuzz::exact(data, size));
  } catch (const regraft::Error&) {
  }
  return 0;
}
