#include "sources/pt2.h"

#include <gmock/gmock.h>

#include "check.h"
#include "support/archives.h"

namespace regraft::sources {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::shared_ptr<const Pt2Archive> parse(const Pt2Writer& writer) {
  return Pt2Archive::from_memory(exact(writer.finish()), "t.pt2");
}

void read_all(const Record& record) {
  const auto archive = Pt2Archive::from_memory(record, "t.pt2");
  fuzz::consume(*make_pt2_source(archive));
}

std::string failure(const Pt2Writer& writer) {
  return error_of([&] { parse(writer); });
}

const Pt2Tensor& tensor(const Pt2Archive& archive, std::string_view name) {
  for (const Pt2Tensor& t : archive.model("model").tensors) {
    if (t.name == name) return t;
  }
  throw std::runtime_error("no such tensor");
}

// An archive with one weight over a payload of six floats.
Pt2Writer with(const PayloadSpec& spec) {
  Pt2Writer writer;
  writer.weights = {spec};
  writer.records = {{"data/weights/weight_0", bytes_of({0, 1, 2, 3, 4, 5})}};
  return writer;
}

TEST(Pt2, ReadsTensorsByName) {
  const auto archive = parse(small_pt2());
  EXPECT_THAT(archive->models(), ElementsAre("model"));
  EXPECT_EQ(archive->model_json("model").text(), "{\"graph_module\":{}}");
  const auto source = make_pt2_source(archive);
  EXPECT_EQ(source->description(), "t.pt2");
  EXPECT_THAT(source->names(), ElementsAre("conv.weight", "tied.weight", "slice", "transposed",
                                           "steps", "empty", "mask"));
  EXPECT_THAT(values(source->read("conv.weight").view), ElementsAre(0, 1, 2, 3, 4, 5));
  EXPECT_THAT(values(source->read("slice").view), ElementsAre(1, 2, 4, 5));
  EXPECT_THAT(values(source->read("transposed").view), ElementsAre(0, 3, 1, 4, 2, 5));
  EXPECT_THAT(values(source->read("steps").view), ElementsAre(7));
  EXPECT_THAT(values(source->read("empty").view), ElementsAre());
  EXPECT_THAT(values(source->read("mask").view), ElementsAre(0, 1, 1, 0));
  EXPECT_TRUE(source->read("mask").stable);
  const TensorView spec = source->spec("transposed");
  EXPECT_EQ(spec.spec(), "f32[3,2]");
  EXPECT_THAT(spec.strides, ElementsAre(1, 3));
  EXPECT_EQ(spec.data, nullptr);
}

TEST(Pt2, SharedPayloadsKeepTheirIdentity) {
  const auto archive = parse(small_pt2());
  const size_t payload = tensor(*archive, "conv.weight").payload;
  EXPECT_EQ(tensor(*archive, "tied.weight").payload, payload);
  EXPECT_EQ(tensor(*archive, "slice").payload, payload);
  EXPECT_NE(tensor(*archive, "steps").payload, payload);
  EXPECT_EQ(archive->payloads()[payload].record, "archive/data/weights/weight_0");
  EXPECT_EQ(archive->payloads()[payload].bytes, 24u);
  EXPECT_TRUE(tensor(*archive, "conv.weight").is_parameter);
  EXPECT_FALSE(tensor(*archive, "steps").is_parameter);
  EXPECT_EQ(tensor(*archive, "mask").kind, Pt2Tensor::Kind::Constant);
}

TEST(Pt2, StoredTensorsAreNotCopiedAndOutliveTheArchive) {
  const std::string bytes = small_pt2().finish();
  const auto memory = std::make_shared<Tensor>(DType::U8, Dims{static_cast<int64_t>(bytes.size())});
  auto* data = memory->mutable_view().as_mutable<char>();
  std::memcpy(data, bytes.data(), bytes.size());
  Record record{{reinterpret_cast<const std::byte*>(data), bytes.size()}, memory};
  SourceTensor tensor;
  {
    tensor = make_pt2_source(Pt2Archive::from_memory(record, "t"))->read("slice");
  }
  EXPECT_GE(tensor.view.as<char>(), data);
  EXPECT_LT(tensor.view.as<char>(), data + bytes.size());
  EXPECT_THAT(values(tensor.view), ElementsAre(1, 2, 4, 5));
}

TEST(Pt2, AnyRootFolderOrNone) {
  for (const char* root : {"", "m.v1/", "m\xc3\xb6/"}) {
    Pt2Writer writer = small_pt2();
    writer.root = root;
    EXPECT_EQ(parse(writer)->model("model").tensors.size(), 7u) << root;
  }
}

TEST(Pt2, RepackedArchives) {
  Pt2Writer writer = small_pt2();
  writer.style = {.deflate = true, .zip64 = true, .descriptor = true};
  auto source = make_pt2_source(parse(writer));
  const SourceTensor conv = source->read("conv.weight"), tied = source->read("tied.weight");
  EXPECT_THAT(values(conv.view), ElementsAre(0, 1, 2, 3, 4, 5));
  EXPECT_EQ(conv.view.data, tied.view.data) << "aliases share the inflated copy";

  writer.style = {.alignment = 1};
  writer.root = "odd/";
  source = make_pt2_source(parse(writer));
  for (const std::string& name : source->names())
    fuzz::consume(source->read(name).view);
  EXPECT_THAT(values(source->read("transposed").view), ElementsAre(0, 3, 1, 4, 2, 5));
  EXPECT_THAT(values(source->read("steps").view), ElementsAre(7));
}

TEST(Pt2, EveryDtypeOfTheSchema) {
  const std::vector<std::pair<int, DType>> known = {
      {1, DType::U8},        {2, DType::I8},     {3, DType::I16},   {4, DType::I32},
      {5, DType::I64},       {6, DType::F16},    {7, DType::F32},   {8, DType::F64},
      {10, DType::C64},      {11, DType::C128},  {12, DType::Bool}, {13, DType::BF16},
      {29, DType::F8E4M3FN}, {30, DType::F8E5M2}};
  for (int id = -1; id < 40; ++id) {
    const auto want =
        std::find_if(known.begin(), known.end(), [&](auto& k) { return k.first == id; });
    const Pt2Writer writer = with({"w", "weight_0", {1}, {1}, 0, id});
    if (want == known.end()) {
      EXPECT_THAT(failure(writer), HasSubstr("unsupported: [sources] t.pt2: ")) << id;
      EXPECT_THAT(failure(writer), HasSubstr("w: dtype number " + std::to_string(id)));
    } else {
      EXPECT_EQ(tensor(*parse(writer), "w").dtype, want->second) << id;
    }
  }
}

TEST(Pt2, ChecksEveryTensorAgainstItsPayload) {
  constexpr int64_t kHuge = INT64_MAX;
  const std::vector<PayloadSpec> good = {{"w", "weight_0", {2, 3}, {3, 1}},
                                         {"w", "weight_0", {}, {}, 5},
                                         {"w", "weight_0", {6}, {1}},
                                         {"w", "weight_0", {0}, {1}, kHuge},
                                         {"w", "weight_0", {1, 1}, {kHuge, kHuge}},
                                         {"w", "weight_0", {1000}, {0}, 5},
                                         {"w", "weight_0", {3}, {1}, 0, 8},
                                         {"w", "weight_0", {0, kHuge}, {1, 0}, 0, 1}};
  for (const PayloadSpec& spec : good) {
    EXPECT_EQ(error_of([&] { read_all(exact(with(spec).finish())); }), "no error")
        << to_string(spec.sizes);
  }
  const std::vector<PayloadSpec> bad = {
      {"w", "weight_0", {7}, {1}},
      {"w", "weight_0", {6}, {1}, 1},
      {"w", "weight_0", {}, {}, 6},
      {"w", "weight_0", {2, 3}, {4, 1}},
      {"w", "weight_0", {2, 3}, {3}},
      {"w", "weight_0", {-1}, {1}},
      {"w", "weight_0", {2}, {-1}, 5},
      {"w", "weight_0", {2}, {1}, -1},
      {"w", "weight_0", {1}, {1}, kHuge},
      {"w", "weight_0", {2}, {kHuge}},
      {"w", "weight_0", {kHuge}, {0}},
      {"w", "weight_0", {kHuge, kHuge}, {0, 0}},
      {"w", "weight_0", {0, kHuge, kHuge}, {0, 0, 0}},
      {"w", "weight_0", {2, 2, 2}, {kHuge / 2, kHuge / 2, kHuge / 2}},
      {"w", "weight_0", {4}, {1}, 0, 8},
      {"w", "weight_0", Dims(65, 1), Dims(65, 1)}};
  for (const PayloadSpec& spec : bad) {
    EXPECT_THAT(failure(with(spec)), HasSubstr("corrupt")) << to_string(spec.sizes);
  }
  EXPECT_THAT(failure(with({"w", "weight_1", {1}, {1}})),
              HasSubstr("w: no record data/weights/weight_1"));
  EXPECT_THAT(failure(with({"w", "../models/model.json", {1}, {1}})), HasSubstr("no record"));
}

TEST(Pt2, RefusesToBeExpandedWithoutBound) {
  EXPECT_THAT(failure(with({"w", "weight_0", {int64_t{1} << 40}, {0}})),
              HasSubstr("out_of_memory"));
  Pt2Writer many;
  many.records = {{"data/weights/weight_0", std::string(1 << 20, '\0')}};
  for (int i = 0; i < 2000; ++i) {
    many.weights.push_back({"w" + std::to_string(i), "weight_0", {1 << 18}, {1}});
  }
  EXPECT_THAT(failure(many), HasSubstr("out_of_memory"));
}

TEST(Pt2, SavedWithFakeTensors) {
  Pt2Writer writer = small_pt2();
  writer.records[0].second.clear();
  const auto archive = parse(writer);
  EXPECT_FALSE(tensor(*archive, "conv.weight").has_bytes());
  EXPECT_FALSE(tensor(*archive, "tied.weight").has_bytes());
  EXPECT_TRUE(tensor(*archive, "empty").has_bytes());
  const auto source = make_pt2_source(archive);
  EXPECT_EQ(source->spec("conv.weight").spec(), "f32[2,3]");
  EXPECT_THAT(error_of([&] { source->read("conv.weight"); }),
              HasSubstr("state: [sources] t.pt2: conv.weight: want bytes, have none"));
  EXPECT_THAT(values(source->read("mask").view), ElementsAre(0, 1, 1, 0));
}

TEST(Pt2, RefusesWhatItCannotRead) {
  PayloadSpec pickled{"sub.class", "weight_0", {1}, {1}};
  pickled.use_pickle = true;
  EXPECT_THAT(failure(with(pickled)), HasSubstr("sub.class: a pickled tensor subclass"));
  PayloadSpec sparse{"sparse", "weight_0", {1}, {1}};
  sparse.layout = 1;
  EXPECT_THAT(failure(with(sparse)), HasSubstr("sparse: layout: want 7 (strided), have 1"));

  Pt2Writer writer = small_pt2();
  writer.byteorder = "big";
  EXPECT_THAT(failure(writer), HasSubstr("byteorder: want little, have big"));
  writer = small_pt2();
  writer.version = "1";
  EXPECT_THAT(failure(writer), HasSubstr("version: [sources] t.pt2: archive_version"));
  writer = small_pt2();
  writer.format = "pt3";
  EXPECT_THAT(failure(writer), HasSubstr("version: [sources] t.pt2: archive_format"));
  writer = small_pt2();
  writer.records.push_back({"data/weights/model.pt", "pickle"});
  EXPECT_THAT(failure(writer),
              HasSubstr("torch <= 2.8: re-export with torch.export.save of torch >= 2.9"));
}

TEST(Pt2, NamesOtherArchives) {
  const auto message = [](std::vector<std::string> names) {
    ZipWriter zip;
    for (const std::string& name : names)
      zip.add(name, "pt2");
    return error_of([&] { Pt2Archive::from_memory(exact(zip.finish()), "t"); });
  };
  EXPECT_THAT(message({"serialized_exported_program.json", "version"}), HasSubstr("torch <= 2.7"));
  EXPECT_THAT(message({"m/data.pkl", "m/version"}), HasSubstr("a torch.save or TorchScript file"));
  EXPECT_THAT(message({"a.txt"}), HasSubstr("no .pt2 file"));
  EXPECT_THAT(message({"a/archive_format", "b/archive_format"}), HasSubstr("several records"));
}

TEST(Pt2, ScriptObjectsAreListedNotRead) {
  Pt2Writer writer = small_pt2();
  std::string bytes = writer.finish();
  const std::string meta = "\"tensor_meta\":{\"dtype\":12";
  const size_t at = bytes.find(meta);
  ASSERT_NE(at, std::string::npos);
  // null and spaces over the object of the only constant.
  const size_t end = bytes.find("\"layout\":7}", at) + 11;
  std::string null = "\"tensor_meta\":null";
  null.resize(end - at, ' ');
  bytes.replace(at, null.size(), null);
  const auto archive = Pt2Archive::from_memory(exact(bytes), "t");
  EXPECT_THAT(archive->model("model").objects, ElementsAre("mask"));
  EXPECT_EQ(archive->model("model").tensors.size(), 6u);
}

TEST(Pt2, NamesAreUniqueOverWeightsAndConstants) {
  Pt2Writer writer = small_pt2();
  writer.constants[0].name = "slice";
  EXPECT_THAT(failure(writer), HasSubstr("slice: both a weight and a constant"));
  writer = small_pt2();
  writer.weights[1].name = "conv.weight";
  EXPECT_THAT(failure(writer), HasSubstr("duplicate key 'conv.weight'"));
}

TEST(Pt2, UnknownNamesSuggestTheNearest) {
  const auto archive = parse(small_pt2());
  EXPECT_THAT(error_of([&] { archive->model("mode"); }), HasSubstr("not_found"));
  const auto source = make_pt2_source(archive);
  EXPECT_THAT(error_of([&] { source->read("conv.weigth"); }),
              HasSubstr("no tensor named 'conv.weigth'; the nearest name is 'conv.weight'"));
  EXPECT_THAT(error_of([&] { source->spec("completely different"); }),
              testing::Not(HasSubstr("nearest")));
}

TEST(Pt2, BoolsThatAreNeither0Nor1) {
  Pt2Writer writer = small_pt2();
  writer.records[3].second[2] = 2;
  const auto source = make_pt2_source(parse(writer));
  EXPECT_THAT(error_of([&] { source->read("mask"); }), HasSubstr("mask: want bool (0 or 1)"));
}

TEST(Pt2, VariantsNeverCrash) {
  Pt2Writer writer = small_pt2();
  writer.style.alignment = 8;
  read_variants(writer.finish(), read_all);
  writer.style = {.deflate = true, .zip64 = true, .alignment = 8};
  read_variants(writer.finish(), read_all, 7);
}

}  // namespace
}  // namespace regraft::sources
