#include <mutex>

#include "base/typed_errors.h"
#include "refit/transaction.h"
#include "regraft/engine.h"

namespace regraft {

Refitter::Refitter(const Engine& engine, std::shared_ptr<const WeightSource> source,
                   const RefitOptions& options)
    : variant_(engine.variant()), source_(std::move(source)), options_(options) {
  if (options_.dry_run) {
    base::fail("refit", ErrorCode::InvalidArgument, "a Refitter has no dry runs: use refit()");
  }
  const std::lock_guard lock(variant_->refit_mutex());
  base::typed_errors("refit", [&] {
    const engine::Core& core = variant_->core();
    if (variant_->publisher().base() == nullptr) {
      base::fail("refit", ErrorCode::State, "engine '", core.image().name,
                 "' has no weights yet: refit it once");
    }
    const backends::UseDevice use(core.device());
    refit::Problems problems("refit");
    auto staged = refit::stage(core, *source_, options_, false, problems);
    for (const std::string& copy : staged.copies) {
      problems.add(
          ErrorCode::InvalidArgument, copy,
          ": is one parameter with another tensor of the source, but lies in other memory; "
          "give one of them");
    }
    problems.raise();
    staged_ = std::make_shared<const refit::Staged>(std::move(staged));
  });
}

Refitter::Refitter(Refitter&&) noexcept = default;
Refitter& Refitter::operator=(Refitter&&) noexcept = default;
Refitter::~Refitter() = default;

RefitReport Refitter::run(void* stream) {
  RefitOptions options = options_;
  options.stream = stream;
  const std::lock_guard lock(variant_->refit_mutex());
  return base::typed_errors("refit", [&] {
    refit::Transaction transaction(variant_, staged_, options);
    transaction.publish();
    return transaction.take_report();
  });
}

}  // namespace regraft
