// Any bytes read as a .npy file: values or Error, nothing else.
#include "consume.h"
#include "sources/npy.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace regraft;
  try {
    fuzz::consume(sources::parse_npy(fuzz::exact(data, size), "fuzz").view);
  } catch (const Error&) {
  }
  return 0;
}
