#include <algorithm>
#include <cstdio>
#include <numeric>

#include "base/text.h"
#include "regraft/profile.h"

namespace regraft {
namespace {

std::string fixed(double value, int digits) {
  char text[64];
  std::snprintf(text, sizeof text, "%.*f", digits, value);
  return text;
}

std::string percent(double share) { return fixed(100 * share, 0) + "%"; }

std::string per_second(double amount, double seconds, double unit) {
  return amount > 0 && seconds > 0 ? fixed(amount / seconds / unit, 2) : "-";
}

using Row = std::vector<std::string>;

// Columns as wide as they need; numbers at their right.
std::string table(const std::vector<Row>& rows, size_t first_text) {
  std::vector<size_t> widths(rows.front().size(), 0);
  for (const Row& row : rows) {
    for (size_t c = 0; c < row.size(); ++c)
      widths[c] = std::max(widths[c], row[c].size());
  }
  std::string out;
  for (const Row& row : rows) {
    std::string line;
    for (size_t c = 0; c < row.size(); ++c) {
      const std::string gap(widths[c] - row[c].size(), ' ');
      line += (c == 0 ? "" : "  ") + (c < first_text ? gap + row[c] : row[c] + gap);
    }
    out += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
  }
  return out;
}

Row row_of(const std::string& number, double seconds, double of, double share, double bytes,
           double flops) {
  return {number,         fixed(1e6 * seconds, 1),         percent(of > 0 ? seconds / of : 0),
          percent(share), per_second(bytes, seconds, 1e9), per_second(flops, seconds, 1e12)};
}

}  // namespace

std::string to_string(const Profile& profile) {
  std::vector<size_t> order(profile.steps.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return profile.steps[a].seconds > profile.steps[b].seconds;
  });
  const double total = profile.steps_seconds();
  std::vector<Row> rows = {
      {"step", "us", "of all", "roofline", "GB/s", "TFLOP/s", "kernel", "tactic", "origin"}};
  for (const size_t s : order) {
    const StepProfile& step = profile.steps[s];
    rows.push_back(row_of(std::to_string(s), step.seconds, total, step.share(),
                          static_cast<double>(step.bytes), static_cast<double>(step.flops)));
    rows.back().insert(rows.back().end(), {step.kernel, step.tactic, step.origin});
  }
  rows.push_back(row_of("all", total, total, total > 0 ? profile.roofline_seconds() / total : 0,
                        static_cast<double>(profile.bytes()),
                        static_cast<double>(profile.flops())));
  std::string out = base::cat(profile.engine, " on ", profile.device, ", ", profile.steps.size(),
                              " steps, medians of ", profile.runs, " runs by ", profile.clock, "\n",
                              table(rows, 6));
  out += base::cat("a run as a whole: ", fixed(1e6 * profile.run_seconds, 1), " us\n");
  for (const Peak& peak : profile.peaks) {
    const bool is_copy = &peak == &profile.peaks.front();
    out += base::cat("roofline of ", is_copy ? "memory" : peak.of, ": ",
                     fixed(peak.per_second / (is_copy ? 1e9 : 1e12), is_copy ? 1 : 2),
                     is_copy ? " GB/s (" : " TFLOP/s (", peak.source, ")\n");
  }
  return out;
}

}  // namespace regraft
