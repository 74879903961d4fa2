#include "cli/commands.h"
#include "cli/progress.h"
#include "cli/texts.h"

namespace regraft::cli {
void refit(const RefitArguments& arguments, const CommonArguments& common) {
  Progress progress(common.quiet);
  progress.show("loading " + arguments.engine);
  Engine engine = Engine::load(arguments.engine);
  progress.show("refitting with " + arguments.weights);
  RefitOptions options;
  options.partial = arguments.partial;
  options.cast = arguments.cast;
  options.dry_run = arguments.dry_run;
  options.allow_unexpected = arguments.allow_unexpected;
  const RefitReport report = engine.refit(*open_source(arguments.weights), options);
  if (!arguments.dry_run) {
    progress.show("writing " + arguments.output);
    SaveOptions save;
    if (arguments.strip) save.form = SaveForm::Stripped;
    if (arguments.immutable) save.form = SaveForm::Immutable;
    engine.save(arguments.output, save);
  }
  if (!common.json) {
    print(to_string(report));
    if (!arguments.dry_run) print("wrote " + arguments.output);
    return;
  }
  JsonWriter json;
  json.begin_object().member("output", arguments.dry_run ? "" : arguments.output).key("report");
  write_report(json, report);
  print(json.end_object().text());
}

}  // namespace regraft::cli
