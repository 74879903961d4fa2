#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace regraft::test {

// A text test of passes: what graph becomes what.
//
//     # pass: fuse-norms          (or several, run in order: "simplify, fuse-norms")
//     # why: what is hard about this case
//     --- before
//     graph(...) {...}
//     --- after
//     graph(...) {...}
//
// Other "# key: value" lines of the header are for whoever runs the test.
struct IrTest {
  std::string path;
  std::map<std::string, std::string, std::less<>> header;
  std::vector<std::string> passes;
  std::string before, after;  // IR text.
};

// Reads one file. Throws Error{"irtest", InvalidArgument} when a part or "# pass" or "# why" is
// missing.
IrTest read_irtest(const std::string& path);
// Every .irtest file under tests/<folder>, sorted.
std::vector<std::string> irtest_files(std::string_view folder);
// "fuse_norms/weight" of ".../tests/lowering/fuse_norms/weight.irtest", as a GoogleTest name.
std::string irtest_name(const std::string& path, std::string_view folder);

}  // namespace regraft::test
