#include "engine_file/encode.h"

#include "engine_file/engine_generated.h"

namespace regraft::engine_file {
namespace {

using flatbuffers::Offset;
template <typename T>
using Offsets = std::vector<Offset<T>>;

class Encoder {
 public:
  Encoder() { builder_.ForceDefaults(true); }

  flatbuffers::DetachedBuffer run(const engine::Image& image, Form form,
                                  const std::vector<SectionRange>& sections) {
    const auto plan = encode(image.plan);
    Offsets<fbs::Text> metadata;
    for (const auto& [key, value] : image.metadata) {
      metadata.push_back(fbs::CreateTextDirect(builder_, key.c_str(), value.c_str()));
    }
    Offsets<fbs::Section> values;
    for (const SectionRange& section : sections) {
      values.push_back(
          fbs::CreateSection(builder_, section.offset, section.bytes, section.checksum));
    }
    const auto unused = builder_.CreateVectorOfStrings(image.unused_parameters);
    const auto writer = builder_.CreateString("regraft " REGRAFT_VERSION);
    const auto name = builder_.CreateString(image.name);
    const auto realised = builder_.CreateString(image.realised);
    const auto all_metadata = builder_.CreateVector(metadata);
    const auto all_values = builder_.CreateVector(values);
    fbs::FinishManifestBuffer(
        builder_, fbs::CreateManifest(builder_, kFormat, writer, name, plan, all_metadata, unused,
                                      static_cast<uint8_t>(form), all_values, realised));
    return builder_.Release();
  }

 private:
  using String = Offset<flatbuffers::String>;

  String text(const SymInt& size) { return builder_.CreateString(size.str()); }

  Offset<flatbuffers::Vector<String>> texts(const SymDims& sizes) {
    std::vector<std::string> parts;
    for (const SymInt& size : sizes)
      parts.push_back(size.str());
    return builder_.CreateVectorOfStrings(parts);
  }

  Offset<fbs::Attribute> encode(const Attributes::Entry& entry) {
    const Attribute& value = entry.second;
    int64_t integer = 0;
    double number = 0;
    String characters;
    Offset<flatbuffers::Vector<String>> sizes;
    Offset<flatbuffers::Vector<double>> numbers;
    if (const auto* x = std::get_if<bool>(&value)) integer = *x ? 1 : 0;
    if (const auto* x = std::get_if<DType>(&value)) integer = static_cast<int64_t>(*x);
    if (const auto* x = std::get_if<double>(&value)) number = *x;
    if (const auto* x = std::get_if<SymInt>(&value)) characters = text(*x);
    if (const auto* x = std::get_if<std::string>(&value)) characters = builder_.CreateString(*x);
    if (const auto* x = std::get_if<SymDims>(&value)) sizes = texts(*x);
    if (const auto* x = std::get_if<std::vector<double>>(&value)) {
      numbers = builder_.CreateVector(*x);
    }
    const String name = builder_.CreateString(entry.first);
    return fbs::CreateAttribute(builder_, name, static_cast<uint8_t>(value.index()), integer,
                                number, characters, sizes, numbers);
  }

  Offset<flatbuffers::Vector<Offset<fbs::Step>>> encode(const std::vector<plan::Step>& steps) {
    Offsets<fbs::Step> all;
    for (const plan::Step& step : steps) {
      Offsets<fbs::Attribute> attributes;
      for (const auto& entry : step.attributes.entries())
        attributes.push_back(encode(entry));
      all.push_back(fbs::CreateStepDirect(builder_, step.kernel.c_str(), &step.inputs,
                                          &step.outputs, &attributes, step.origin.c_str(),
                                          step.in_place));
    }
    return builder_.CreateVector(all);
  }

  Offset<flatbuffers::Vector<Offset<fbs::Port>>> encode(const std::vector<plan::Port>& ports) {
    Offsets<fbs::Port> all;
    for (const plan::Port& port : ports) {
      all.push_back(fbs::CreatePortDirect(builder_, port.name.c_str(), port.buffer));
    }
    return builder_.CreateVector(all);
  }

  Offset<fbs::Plan> encode(const plan::Plan& plan) {
    Offsets<fbs::Symbol> symbols;
    for (const plan::Symbol& s : plan.symbols) {
      symbols.push_back(fbs::CreateSymbolDirect(builder_, s.name.c_str(), s.min, s.max, s.optimum));
    }
    Offsets<fbs::Storage> storages;
    for (const plan::Storage& s : plan.storages) {
      const String bytes = text(s.bytes);
      storages.push_back(
          fbs::CreateStorage(builder_, static_cast<uint8_t>(s.kind), s.index, bytes));
    }
    Offsets<fbs::Buffer> buffers;
    for (const plan::Buffer& b : plan.buffers) {
      const String name = builder_.CreateString(b.name), offset = text(b.offset);
      const auto dims = texts(b.type.dims), strides = texts(b.strides);
      buffers.push_back(fbs::CreateBuffer(builder_, name, static_cast<uint8_t>(b.type.dtype), dims,
                                          strides, offset, b.storage));
    }
    Offsets<fbs::Parameter> parameters;
    for (const plan::Parameter& p : plan.parameters) {
      const String name = builder_.CreateString(p.name);
      const auto aliases = builder_.CreateVectorOfStrings(p.aliases);
      parameters.push_back(
          fbs::CreateParameter(builder_, name, aliases, p.buffer, p.index_bound, p.optional));
    }
    Offsets<fbs::Constant> constants;
    for (const plan::Constant& c : plan.constants) {
      constants.push_back(fbs::CreateConstantDirect(builder_, c.name.c_str(), c.source, c.buffer));
    }
    const auto weight = encode(plan.weight_steps), shape = encode(plan.shape_steps),
               compute = encode(plan.compute_steps);
    const auto inputs = encode(plan.inputs), outputs = encode(plan.outputs);
    const auto all_symbols = builder_.CreateVector(symbols);
    const auto all_storages = builder_.CreateVector(storages);
    const auto all_buffers = builder_.CreateVector(buffers);
    const auto all_parameters = builder_.CreateVector(parameters);
    const auto all_constants = builder_.CreateVector(constants);
    // Nothing where there are none: as before there were any.
    Offset<flatbuffers::Vector<Offset<fbs::Guard>>> guards;
    if (!plan.guards.empty()) {
      Offsets<fbs::Guard> all;
      for (const SizeGuard& guard : plan.guards) {
        const String left = text(guard.left), right = text(guard.right);
        all.push_back(
            fbs::CreateGuard(builder_, left, static_cast<uint8_t>(guard.relation), right));
      }
      guards = builder_.CreateVector(all);
    }
    const String backend = builder_.CreateString(plan.backend);
    return fbs::CreatePlan(builder_, backend, all_symbols, all_storages, all_buffers, inputs,
                           outputs, all_parameters, all_constants, weight, shape, compute, guards);
  }

  flatbuffers::FlatBufferBuilder builder_;
};

}  // namespace

flatbuffers::DetachedBuffer encode_manifest(const engine::Image& image, Form form,
                                            const std::vector<SectionRange>& sections) {
  return Encoder().run(image, form, sections);
}

}  // namespace regraft::engine_file
