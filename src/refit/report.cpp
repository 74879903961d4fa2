#include <iomanip>
#include <sstream>

#include "base/typed_errors.h"
#include "refit/transaction.h"
#include "regraft/refit.h"

namespace regraft {

std::string to_string(const RefitReport& report) {
  std::ostringstream out;
  out << std::fixed << std::setprecision(2);
  out << (report.dry_run ? "would refit " : "refitted ") << report.updated.size()
      << " constants from " << report.parameters.size() << " parameters, " << report.untouched
      << " untouched; generation " << report.generation << "\n";
  out << static_cast<double>(report.bytes_in) / 1e6 << " MB in, "
      << static_cast<double>(report.bytes_out) / 1e6 << " MB out, " << report.total_ms << " ms";
  if (report.gigabytes_per_second > 0) out << ", " << report.gigabytes_per_second << " GB/s";
  out << " (stage " << report.stage_ms << ", check " << report.check_ms << ", evaluate "
      << report.evaluate_ms << ", publish " << report.publish_ms << ")\n";
  const MemoryReport& memory = report.memory;
  out << "memory in MB: constants " << static_cast<double>(memory.constants) / 1e6 << ", previous "
      << static_cast<double>(memory.previous) / 1e6 << ", retained "
      << static_cast<double>(memory.retained) / 1e6 << ", mapped "
      << static_cast<double>(memory.mapped) / 1e6 << ", spare "
      << static_cast<double>(memory.spare) / 1e6 << "\n";
  if (!report.unused.empty()) out << report.unused.size() << " tensors of the source unused\n";
  for (const auto& [name, count] : report.non_finite) {
    out << name << ": " << count << " elements are not finite\n";
  }
  return out.str();
}

PreparedRefit::PreparedRefit(std::unique_ptr<refit::Transaction> transaction)
    : transaction_(std::move(transaction)) {}
PreparedRefit::PreparedRefit(PreparedRefit&&) noexcept = default;
PreparedRefit& PreparedRefit::operator=(PreparedRefit&&) noexcept = default;
PreparedRefit::~PreparedRefit() = default;

const RefitReport& PreparedRefit::report() const { return transaction_->report(); }
void PreparedRefit::check() const {
  base::typed_errors("refit", [&] { transaction_->check_publish(); });
}
RefitReport PreparedRefit::publish() {
  return base::typed_errors("refit", [&] {
    transaction_->publish();
    return transaction_->report();
  });
}

}  // namespace regraft
