// Any bytes read as a .safetensors file: values or Error, nothing else.
#include "consume.h"
#include "sources/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace regraft;
  try {
    fuzz::consume(*sources::make_safetensors_source(fuzz::exact(data, size), "fuzz"));
  } catch (const Error&) {
  }
  return 0;
}
