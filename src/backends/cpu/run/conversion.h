#pragma once

#include "backends/cpu/run/kernel.h"
#include "backends/cpu/run/strided_copy.h"
#include "backends/cpu/run/workspace.h"

namespace regraft::cpu {

// An operand of a primitive: used as it lies where it has the dtype and strides that the primitive
// wants, else copied to (or, for a result, from) the kernel's workspace.
class Conversion {
 public:
  Conversion() = default;
  // Of an operand that the kernel reads.
  static Conversion of_source(const Operand& operand, DType type, const Dims& strides,
                              Workspace& workspace) {
    Conversion out(operand, type, strides, workspace);
    if (out.needed_) {
      out.copy_ = StridedCopy(operand.dims, operand.dtype, operand.strides, type, strides);
    }
    return out;
  }
  // Of one that it writes.
  static Conversion of_target(const Operand& operand, DType type, const Dims& strides,
                              Workspace& workspace) {
    Conversion out(operand, type, strides, workspace);
    if (out.needed_) {
      out.copy_ = StridedCopy(operand.dims, type, strides, operand.dtype, operand.strides);
    }
    return out;
  }

  bool needed() const { return needed_; }
  // The address for the primitive, after copying.
  void* source(const void* data, void* workspace) const {
    if (!needed_) return const_cast<void*>(data);
    copy_.run(data, Workspace::at(workspace, place_));
    return Workspace::at(workspace, place_);
  }
  // The address that the primitive writes; finish() then copies.
  void* target(void* data, void* workspace) const {
    return needed_ ? Workspace::at(workspace, place_) : data;
  }
  void finish(void* data, void* workspace) const {
    if (needed_) copy_.run(Workspace::at(workspace, place_), data);
  }

 private:
  Conversion(const Operand& operand, DType type, const Dims& strides, Workspace& workspace) {
    needed_ = operand.dtype != type;
    for (size_t d = 0; d < operand.dims.size(); ++d) {
      needed_ = needed_ || (operand.dims[d] != 1 && operand.strides[d] != strides[d]);
    }
    if (needed_) {
      place_ = workspace.add(static_cast<size_t>(numel(operand.dims)) * item_size(type));
    }
  }

  bool needed_ = false;
  StridedCopy copy_;
  Workspace::Place place_;
};

}  // namespace regraft::cpu
