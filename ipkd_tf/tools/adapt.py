"""Early exit of a finished run: what it reaches within budgets, and files that exit early.

  python -m ipkd_tf adapt --run=runs/quickstart/seed0
  python -m ipkd_tf adapt --run=runs/quickstart/seed0 --budget=2M --format=saved_model,onnx
  python -m ipkd_tf adapt --run=runs/quickstart/seed0 --budget=3ms --confidence=margin

Thresholds are fitted on held-out images and applied to the test images. adapt.csv, adapt.json and
adapt.png go to RUN/adapt, the files of a budget to RUN/adapt/BUDGET/FORMAT.
"""

from absl import flags

from ipkd_tf.output.checks import check
from ipkd_tf.tools import command

FLAGS = flags.FLAGS
# An image's cost varies by two thirds of the mean, so the mean of 300 is good to 4 %.
_TIMED_IMAGES = 300
_BATCH = 250


def define_flags(values=flags.FLAGS):
    command.define_run_flags(values)
    command.define_held_out_flag(values)
    define = command.definer(values)
    define(
        "budget",
        "",
        "Mean cost per image to export for: 8M (multiply-adds) or 3ms (on this machine, one image "
        "at a time). Empty: only the table and the figure.",
    )
    define(
        "confidence",
        "probability",
        "When a sub-model counts as sure: by its largest probability, by how far that is above the "
        "second, or by the entropy.",
        ["probability", "margin", "entropy"],
    )
    define("calibrate", True, "Scale each sub-model's logits by a fitted temperature.")
    define("format", ["saved_model"], "From saved_model, litert, onnx.")
    define("output", "", "Directory; empty: RUN/adapt.")
    define("threads", 1, "Of the timed calls; 0: the runtime's choice.", lower_bound=0)


def main():
    """Fits, prints the tables and writes the files."""
    # Only a budget in time is timed.
    command.start_tensorflow(FLAGS.threads if FLAGS.budget.endswith("s") else 0)
    from ipkd_tf.deployment.early_exit import writing
    from ipkd_tf.output import files
    from ipkd_tf.reports import early_exit
    from ipkd_tf.training import environment

    budget = _parse_budget()
    writing.check_formats(FLAGS.format)
    run = command.open_run(FLAGS)
    held_out = command.read_held_out(run, FLAGS.from_training, "thresholds are fitted")
    test = run.splits.test
    study = _fit(run, held_out, test, budget)
    rows = study.curve()
    quantity = budget.quantity if budget else "multiply_adds"
    print(early_exit.text(study, rows, quantity))
    directory = command.output_directory(FLAGS, "adapt")
    document = {
        "run": run.result["name"],
        "seed": run.result["seed"],
        "epoch": run.epoch,
        "quantity": quantity,
        "confidence": study.confidence,
        "images": {"held_out": len(held_out), "test": len(test)},
        "submodels": study.submodels,
        "costs": {name: values.tolist() for name, values in vars(study.costs).items()},
        "curve": rows,
        "environment": environment.describe(),
    }
    written = ["adapt.csv", "adapt.json", "adapt.png", "adapt.pdf"]
    if budget:
        # Before anything is written, as a budget may be too small.
        document["exported"] = _export(run, study, budget, test, directory / budget.text)
        written += [f"{budget.text}/{format}" for format in FLAGS.format]
    early_exit.draw(study, rows, quantity, run.title, directory / "adapt.png")
    files.write_text(directory / "adapt.csv", early_exit.frame(study, rows).to_csv(index=False))
    files.write_json(directory / "adapt.json", {**document, "files": written})
    print(f"{directory}: {', '.join(written)}")


def _parse_budget():
    from ipkd_tf.deployment.budget import Budget

    budget = Budget.parse(FLAGS.budget) if FLAGS.budget else None
    saved = not budget or budget.quantity in ("multiply_adds", "milliseconds")
    expected = "a budget such as 8M (multiply-adds) or 3ms: early exit saves time, not bytes"
    check(saved, expected, budget=FLAGS.budget)
    return budget


def _fit(run, held_out, test, budget):
    from ipkd_tf.deployment.early_exit import costs, study
    from ipkd_tf.deployment.export.verification import predict

    logits = [
        (predict(run.network.predict_on_batch, part, _BATCH), part.labels)
        for part in (held_out, test)
    ]
    spent = None
    if budget and budget.quantity == "milliseconds":
        print("Times each way through the network on this machine")
        spent = costs.milliseconds(run.network, test.images([0]), FLAGS.confidence)
    return study.fit(run.network, *logits, FLAGS.confidence, FLAGS.calibrate, spent)


def _export(run, study, budget, test, directory):
    """Writes the formats for a budget, prints what they reach and returns it."""
    from ipkd_tf import data
    from ipkd_tf.deployment import early_exit
    from ipkd_tf.deployment.budget import amount
    from ipkd_tf.deployment.early_exit import costs

    _, outcome = study.within(budget.limit)
    classify = early_exit.EarlyExitClassifier(
        run.network, outcome.thresholds, study.confidence, study.temperatures
    )
    facts = {
        "budget": budget.text,
        "quantity": budget.quantity,
        "test_accuracy": outcome.accuracy,
        "test_cost": outcome.cost,
        "shares": outcome.shares,
        "class_names": list(run.splits.dataset.class_names),
        "run": {"name": run.result["name"], "seed": run.result["seed"], "epoch": run.epoch},
    }
    cost = amount(outcome.cost, budget.quantity)
    print(f"\nWithin {budget.text}: test accuracy {outcome.accuracy:.2%} at {cost} per image")
    limits = [*map("{:.4g}".format, outcome.thresholds), "-"]
    for name, limit, share in zip(study.names, limits, outcome.shares, strict=True):
        print(f"  {name}: threshold {limit}, {share:.2%} of the test images leave")
    if budget.quantity == "milliseconds":
        timed = test.images(data.draw(test.labels, _TIMED_IMAGES))
        mean, p95 = costs.mean_milliseconds(classify, timed)
        facts |= {"measured_mean_ms": mean, "measured_p95_ms": p95}
        print(f"  measured, one image at a time: mean {mean:.3g} ms, 95th percentile {p95:.3g} ms")
    agreement = {}
    for format in FLAGS.format:
        agreement[format] = early_exit.export(
            classify, directory / format, format, test, outcome.exits, facts
        )
        share = f"{agreement[format]:.2%} of {len(test)}"
        print(f"  {format}: {share} images leave where simulated", flush=True)
    return {**facts, "thresholds": list(outcome.thresholds), "agreement": agreement}


if __name__ == "__main__":
    command.start(define_flags, main)
