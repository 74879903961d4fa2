#include "support/irtest.h"

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/fail.h"

namespace regraft::test {
namespace {

std::string root(std::string_view folder) {
  return std::string(REGRAFT_TEST_DATA "/") + std::string(folder);
}

void read_header(const std::string& line, IrTest& out) {
  const size_t colon = line.find(": ");
  if (!line.starts_with("# ") || colon == std::string::npos) return;
  out.header[line.substr(2, colon - 2)] = line.substr(colon + 2);
}

}  // namespace

IrTest read_irtest(const std::string& path) {
  std::ifstream file(path);
  IrTest out;
  out.path = path;
  std::string* part = nullptr;
  for (std::string line; std::getline(file, line);) {
    if (line == "--- before") {
      part = &out.before;
    } else if (line == "--- after") {
      part = &out.after;
    } else if (part != nullptr) {
      *part += line + "\n";
    } else {
      read_header(line, out);
    }
  }
  std::stringstream names(out.header["pass"]);
  for (std::string name; std::getline(names, name, ',');) {
    name.erase(0, name.find_first_not_of(' '));
    out.passes.push_back(name);
  }
  if (out.passes.empty() || out.header["why"].empty() || out.before.empty() || out.after.empty()) {
    base::fail("irtest", ErrorCode::InvalidArgument, path,
               ": want '# pass:', '# why:', '--- before' and '--- after'");
  }
  return out;
}

std::vector<std::string> irtest_files(std::string_view folder) {
  std::vector<std::string> paths;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(root(folder))) {
    if (entry.path().extension() == ".irtest") paths.push_back(entry.path().string());
  }
  std::sort(paths.begin(), paths.end());
  return paths;
}

std::string irtest_name(const std::string& path, std::string_view folder) {
  std::string name = path.substr(root(folder).size() + 1);
  name.resize(name.size() - std::string_view(".irtest").size());
  for (char& c : name) {
    if (std::isalnum(static_cast<unsigned char>(c)) == 0) c = '_';
  }
  return name;
}

}  // namespace regraft::test
