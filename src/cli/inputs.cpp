#include "cli/inputs.h"

#include <algorithm>

#include "base/fail.h"
#include "cli/texts.h"
#include "sources/npy.h"
#include "tensor/copy.h"

namespace regraft::cli {

std::vector<int> assign(const std::vector<std::string>& arguments,
                        const std::vector<TensorSpec>& specs, std::string_view option) {
  std::vector<int> out(specs.size(), -1);
  size_t next = 0;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string name = split_name(arguments[i]).first;
    size_t at = next;
    if (name.empty()) {
      if (at >= specs.size()) {
        base::fail("cli", ErrorCode::InvalidArgument, option, ": the engine has ", specs.size(),
                   ", ", arguments.size(), " given");
      }
      ++next;
    } else {
      std::vector<std::string> names;
      for (const TensorSpec& spec : specs)
        names.push_back(spec.name);
      at = static_cast<size_t>(std::find(names.begin(), names.end(), name) - names.begin());
      if (at == names.size()) {
        base::fail("cli", ErrorCode::InvalidArgument, option, ": the engine has no '", name,
                   "'; it has ", base::join(names, ", "));
      }
    }
    if (out[at] >= 0) {
      base::fail("cli", ErrorCode::InvalidArgument, option, ": ", specs[at].name, " given twice");
    }
    out[at] = static_cast<int>(i);
  }
  return out;
}

InputFiles read_inputs(const std::vector<std::string>& arguments, const Signature& signature) {
  const std::vector<int> files = assign(arguments, signature.inputs, "--input");
  InputFiles out;
  out.converted.reserve(signature.inputs.size());
  for (size_t i = 0; i < files.size(); ++i) {
    const TensorSpec& spec = signature.inputs[i];
    if (files[i] < 0) {
      base::fail("cli", ErrorCode::InvalidArgument, "--input: ", spec.name, " (", spec.text(),
                 ") is missing");
    }
    out.owners.push_back(sources::read_npy(split_name(arguments[files[i]]).second));
    TensorView view = out.owners.back().view;
    // What NumPy does not have comes as f32.
    if (!sources::is_npy_dtype(spec.dtype) && view.dtype == DType::F32) {
      out.converted.emplace_back(spec.dtype, view.dims);
      copy(view, out.converted.back().mutable_view());
      view = out.converted.back().view();
    }
    out.views.push_back(std::move(view));
  }
  return out;
}

}  // namespace regraft::cli
