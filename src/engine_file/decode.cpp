#include "engine_file/decode.h"

#include <algorithm>
#include <charconv>

#include "base/fail.h"
#include "engine_file/engine_generated.h"

namespace regraft::engine_file {
namespace {

template <typename... Parts>
[[noreturn]] void corrupt(const Parts&... parts) {
  base::fail("engine_file", ErrorCode::Corrupt, "manifest: ", parts...);
}

class Decoder {
 public:
  // FlatBuffers lets many references name one string or vector: what is copied out of the manifest
  // is bounded by its size, which a file that we wrote never passes.
  explicit Decoder(size_t manifest_bytes) : budget_(manifest_bytes) {}

  Manifest run(const fbs::Manifest& manifest) {
    Manifest out;
    if (manifest.form() > static_cast<uint8_t>(Form::Immutable)) corrupt("unknown form");
    out.form = static_cast<Form>(manifest.form());
    out.image.immutable = out.form == Form::Immutable;
    out.image.stripped = out.form == Form::Stripped;
    out.image.name = text(manifest.name());
    out.image.realised = text(manifest.realised());
    out.image.unused_parameters = texts(manifest.unused_parameters());
    each(manifest.metadata(), [&](const fbs::Text& entry) {
      out.image.metadata[text(entry.key())] = text(entry.value());
    });
    each(manifest.values(), [&](const fbs::Section& section) {
      out.sections.push_back({section.offset(), section.bytes(), section.checksum()});
    });
    decode(*manifest.plan(), out.image.plan);
    return out;
  }

 private:
  void spend(size_t bytes) {
    if (bytes > budget_) corrupt("parts are referred to more than once");
    budget_ -= bytes;
  }

  // Calls f with every element; a missing vector is an empty one.
  template <typename T, typename F>
  static void each(const flatbuffers::Vector<flatbuffers::Offset<T>>* list, const F& f) {
    if (list == nullptr) return;
    for (const T* item : *list)
      f(*item);
  }

  std::string text(const flatbuffers::String* string) {
    if (string == nullptr) return {};
    spend(string->size());
    return string->str();
  }

  using Strings = flatbuffers::Vector<flatbuffers::Offset<flatbuffers::String>>;

  std::vector<std::string> texts(const Strings* list) {
    std::vector<std::string> out;
    each(list, [&](const flatbuffers::String& string) { out.push_back(text(&string)); });
    return out;
  }

  // Sizes are stored in canonical form. Parentheses belong to function calls only: products of
  // sums, which take exponential time to multiply out, do not occur.
  SymInt size(const flatbuffers::String* string) {
    constexpr size_t kLongest = 2048;
    const std::string expression = text(string);
    int64_t number = 0;
    const char* end = expression.data() + expression.size();
    const auto read = std::from_chars(expression.data(), end, number);
    if (read.ec == std::errc() && read.ptr == end) return number;
    if (expression.size() > kLongest) corrupt("a size expression that long");
    for (size_t i = 0; i < expression.size(); ++i) {
      if (expression[i] != '(') continue;
      const char before = i == 0 ? ' ' : expression[i - 1];
      if (before < 'a' || before > 'z') corrupt("size '", expression, "'");
    }
    try {
      SymInt value = SymInt::parse(expression);
      if (value.str() != expression) corrupt("size '", expression, "' is not canonical");
      return value;
    } catch (const Error& error) {
      corrupt(error.what());
    }
  }

  SymDims sizes(const Strings* list) {
    SymDims out;
    each(list, [&](const flatbuffers::String& string) { out.push_back(size(&string)); });
    return out;
  }

  std::vector<int32_t> indices(const flatbuffers::Vector<int32_t>* list) {
    if (list == nullptr) return {};
    spend(list->size() * sizeof(int32_t));
    return {list->begin(), list->end()};
  }

  Attribute attribute(const fbs::Attribute& in) {
    switch (in.kind()) {
      case 0:
        return std::monostate();
      case 1:
        return in.integer() != 0;
      case 2:
        return size(in.text());
      case 3:
        return in.number();
      case 4:
        return text(in.text());
      case 5:
        return sizes(in.sizes());
      case 6: {
        if (in.numbers() == nullptr) return std::vector<double>();
        spend(in.numbers()->size() * sizeof(double));
        std::vector<double> numbers(in.numbers()->size());
        // FlatBuffers verifies where the length of a vector lies, not its elements.
        std::copy_n(in.numbers()->Data(), numbers.size() * sizeof(double),
                    reinterpret_cast<uint8_t*>(numbers.data()));
        return numbers;
      }
      case 7: {
        if (in.integer() < 0 || in.integer() >= kDTypeCount) corrupt("unknown dtype");
        return static_cast<DType>(in.integer());
      }
      default:
        corrupt("unknown kind of attribute ", static_cast<int>(in.kind()));
    }
  }

  void decode(const flatbuffers::Vector<flatbuffers::Offset<fbs::Step>>* list,
              std::vector<plan::Step>& out) {
    each(list, [&](const fbs::Step& in) {
      plan::Step step;
      step.kernel = text(in.kernel());
      step.inputs = indices(in.inputs());
      step.outputs = indices(in.outputs());
      step.origin = text(in.origin());
      step.in_place = in.in_place();
      each(in.attributes(), [&](const fbs::Attribute& entry) {
        step.attributes.set(text(entry.name()), attribute(entry));
      });
      out.push_back(std::move(step));
    });
  }

  void decode(const flatbuffers::Vector<flatbuffers::Offset<fbs::Port>>* list,
              std::vector<plan::Port>& out) {
    each(list, [&](const fbs::Port& in) { out.push_back({text(in.name()), in.buffer()}); });
  }

  void decode(const fbs::Plan& in, plan::Plan& out) {
    out.backend = text(in.backend());
    each(in.symbols(), [&](const fbs::Symbol& s) {
      out.symbols.push_back({text(s.name()), s.min(), s.max(), s.optimum()});
    });
    each(in.guards(), [&](const fbs::Guard& g) {
      if (g.relation() > static_cast<uint8_t>(SizeGuard::Relation::LessEqual)) {
        corrupt("unknown relation of sizes");
      }
      out.guards.push_back(
          {size(g.left()), static_cast<SizeGuard::Relation>(g.relation()), size(g.right())});
    });
    each(in.storages(), [&](const fbs::Storage& s) {
      out.storages.push_back(
          {static_cast<plan::StorageKind>(s.kind()), s.index(), size(s.bytes())});
    });
    each(in.buffers(), [&](const fbs::Buffer& b) {
      if (b.dtype() >= kDTypeCount) corrupt("unknown dtype");
      out.buffers.push_back({text(b.name()),
                             {static_cast<DType>(b.dtype()), sizes(b.dims())},
                             sizes(b.strides()),
                             size(b.offset()),
                             b.storage()});
    });
    each(in.parameters(), [&](const fbs::Parameter& p) {
      out.parameters.push_back(
          {text(p.name()), texts(p.aliases()), p.buffer(), p.index_bound(), p.optional()});
    });
    each(in.constants(), [&](const fbs::Constant& c) {
      out.constants.push_back({text(c.name()), c.source(), c.buffer()});
    });
    decode(in.inputs(), out.inputs);
    decode(in.outputs(), out.outputs);
    decode(in.weight_steps(), out.weight_steps);
    decode(in.shape_steps(), out.shape_steps);
    decode(in.compute_steps(), out.compute_steps);
  }

  size_t budget_;
};

}  // namespace

Manifest decode_manifest(std::span<const std::byte> bytes) {
  const auto* data = reinterpret_cast<const uint8_t*>(bytes.data());
  constexpr size_t kMostTables = 4'000'000;
  constexpr int kDepth = 16;
  // Every table we write takes more than 8 bytes; the verifier counts a shared one every time.
  flatbuffers::Verifier verifier(
      data, bytes.size(), kDepth,
      static_cast<flatbuffers::uoffset_t>(std::min(kMostTables, bytes.size() / 8 + 16)));
  if (!fbs::VerifyManifestBuffer(verifier)) corrupt("not a valid FlatBuffer");
  const fbs::Manifest& manifest = *fbs::GetManifest(data);
  if (manifest.format() != kFormat) {
    base::fail("engine_file", ErrorCode::Version, "format ", manifest.format(), " of '",
               manifest.writer() != nullptr ? manifest.writer()->str() : "",
               "', this build reads format ", kFormat);
  }
  Manifest out = Decoder(bytes.size()).run(manifest);
  plan::verify(out.image.plan);
  return out;
}

}  // namespace regraft::engine_file
