#include "support/case_file.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/fail.h"

namespace regraft::test {
namespace {

// One "# case:" block before its dtypes and sizes are multiplied out.
struct Block {
  Case base;
  std::vector<std::pair<std::string, std::vector<std::string>>> each;  // Word and what replaces it.
  std::vector<SymbolValues> sizes;
  bool has_reason = false;
};

std::string trim(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t\r");
  if (begin == std::string_view::npos) return "";
  return std::string(text.substr(begin, text.find_last_not_of(" \t\r") - begin + 1));
}

std::vector<std::string> words(const std::string& text) {
  std::istringstream in(text);
  std::vector<std::string> out;
  for (std::string word; in >> word;)
    out.push_back(word);
  return out;
}

bool is_word_character(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_';
}

// Replaces `word` where it stands alone.
std::string replace_word(const std::string& text, const std::string& word, const std::string& by) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const size_t found = text.find(word, at);
    if (found == std::string::npos) return out + text.substr(at);
    const size_t end = found + word.size();
    const bool alone = (found == 0 || !is_word_character(text[found - 1])) &&
                       (end == text.size() || !is_word_character(text[end]));
    out += text.substr(at, found - at) + (alone ? by : word);
    at = end;
  }
  return out;
}

class Reader {
 public:
  Reader(std::string_view op, std::string_view text) : op_(op), in_(std::string(text)) {}

  std::vector<Case> read() {
    for (std::string line; std::getline(in_, line);) {
      ++line_;
      const std::string text = trim(line);
      if (text.rfind("# case:", 0) == 0) {
        finish();
        block_.emplace();
        block_->base.name = std::string(op_) + "/" + trim(text.substr(7));
        block_->base.op = op_;
      } else if (!block_) {
        if (!text.empty() && text.front() != '#') fail("text before the first '# case:'");
      } else if (!text.empty() && text.front() == '#') {
        header(text);
      } else {
        block_->base.graph += line + "\n";
      }
    }
    finish();
    return std::move(cases_);
  }

 private:
  template <typename... Parts>
  [[noreturn]] void fail(const Parts&... parts) const {
    base::fail("conformance", ErrorCode::InvalidArgument, op_, ".cases, line ", line_, ": ",
               parts...);
  }

  void header(const std::string& text) {
    const size_t colon = text.find(':');
    const std::vector<std::string> key = words(text.substr(1, colon - 1));
    if (colon == std::string::npos || key.empty()) fail("want '# key: value'");
    const std::string value = trim(text.substr(colon + 1));
    if (key[0] == "torch") {
      block_->base.torch = value;
    } else if (key[0] == "dtypes") {
      block_->each.insert(block_->each.begin(), {"T", words(value)});
    } else if (key[0] == "each" && key.size() == 2) {
      block_->each.emplace_back(key[1], words(value));
    } else if (key[0] == "input" && key.size() == 2) {
      for (const std::string& word : words(value)) {
        block_->base.inputs[key[1]].push_back(input_word(word));
      }
    } else if (key[0] == "sizes") {
      SymbolValues values;
      for (const auto& [name, size] : assignments(value))
        values[name] = static_cast<int64_t>(size);
      block_->sizes.push_back(values);
    } else if (key[0] == "tolerance") {
      block_->base.tolerance = assignments(value);
    } else if (key[0] == "why") {
      block_->has_reason = true;
    } else {
      fail("unknown key '", key[0], "'");
    }
  }

  double number(const std::string& text) const {
    try {
      return std::stod(text);
    } catch (const std::exception&) {
      fail("not a number: '", text, "'");
    }
  }

  std::map<std::string, double> assignments(const std::string& text) const {
    std::map<std::string, double> out;
    for (const std::string& word : words(text)) {
      const size_t equals = word.find('=');
      if (equals == std::string::npos) fail("want name=number, have '", word, "'");
      out[word.substr(0, equals)] = number(word.substr(equals + 1));
    }
    return out;
  }

  // "uniform(0,1)", "bools"
  InputWord input_word(const std::string& text) const {
    const size_t open = text.find('(');
    InputWord word{text.substr(0, open), {}};
    if (open == std::string::npos) return word;
    if (text.back() != ')') fail("want 'name(numbers)' without spaces, have '", text, "'");
    std::istringstream in(text.substr(open + 1, text.size() - open - 2));
    for (std::string part; std::getline(in, part, ',');)
      word.arguments.push_back(number(part));
    return word;
  }

  void finish() {
    if (!block_) return;
    if (block_->base.torch.empty()) fail(block_->base.name, " has no '# torch:'");
    if (!block_->base.tolerance.empty() && !block_->has_reason) {
      fail(block_->base.name, " states a tolerance without '# why:'");
    }
    if (block_->sizes.empty()) block_->sizes.emplace_back();
    expand(block_->base, 0);
    block_.reset();
  }

  void expand(Case c, size_t level) {
    if (level < block_->each.size()) {
      const auto& [word, values] = block_->each[level];
      for (const std::string& value : values) {
        Case next = c;
        next.name += " " + value;
        next.graph = replace_word(c.graph, word, value);
        if (word == "T") {
          next.dtype = value;
        } else {
          next.torch = replace_word(c.torch, word, value);
        }
        expand(next, level + 1);
      }
      return;
    }
    for (const SymbolValues& sizes : block_->sizes) {
      Case next = c;
      next.sizes = sizes;
      for (const auto& [name, size] : sizes)
        next.name += base::cat(" ", name, "=", size);
      cases_.push_back(std::move(next));
    }
  }

  std::string_view op_;
  std::istringstream in_;
  int line_ = 0;
  std::optional<Block> block_;
  std::vector<Case> cases_;
};

}  // namespace

std::vector<Case> parse_cases(std::string_view op, std::string_view text) {
  return Reader(op, text).read();
}

namespace {

std::filesystem::path cases_folder() {
  return std::filesystem::path(REGRAFT_TEST_DATA) / "conformance/cases";
}

}  // namespace

std::vector<std::string> case_files() {
  std::vector<std::string> stems;
  for (const auto& entry : std::filesystem::directory_iterator(cases_folder())) {
    if (entry.path().extension() == ".cases") stems.push_back(entry.path().stem().string());
  }
  std::sort(stems.begin(), stems.end());
  return stems;
}

std::vector<Case> load_cases(const std::string& op) {
  std::ostringstream text;
  text << std::ifstream(cases_folder() / (op + ".cases")).rdbuf();
  return parse_cases(op, text.str());
}

}  // namespace regraft::test
