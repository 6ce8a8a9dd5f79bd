"""Early exit of a finished run: what it reaches within budgets, and files that really stop.

  python -m ipkd_tf.tools.adapt --run=runs/quickstart/seed0
  python -m ipkd_tf.tools.adapt --run=runs/quickstart/seed0 --budget=2M --format=saved_model,onnx
  python -m ipkd_tf.tools.adapt --run=runs/quickstart/seed0 --budget=3ms --confidence=margin

Thresholds are fitted on held-out images and applied to the test images. adapt.csv, adapt.json and
adapt.png go to RUN/adapt, with a budget also the files of each format.
"""

import pathlib
import sys

from absl import flags

from ipkd_tf.tools import command

FLAGS = flags.FLAGS
_TIMED_IMAGES = 300


def define_flags(values=flags.FLAGS):
    command.define_opening_flags(values)
    flags.DEFINE_string(
        "budget",
        "",
        "Mean cost per image to export for: 8M (multiply-adds) or 3ms (on this machine, one image "
        "at a time). Empty: only the table and the figure.",
        flag_values=values,
    )
    flags.DEFINE_enum(
        "confidence",
        "probability",
        ["probability", "margin", "entropy"],
        "When a sub-model counts as sure: by its largest probability, by how far that is above the "
        "second, or by the entropy.",
        flag_values=values,
    )
    flags.DEFINE_boolean(
        "calibrate", True, "Scale each sub-model's logits by a fitted temperature.", values
    )
    flags.DEFINE_list(
        "format", ["saved_model"], "From saved_model, litert, onnx.", flag_values=values
    )
    flags.DEFINE_string("output", "", "Directory; empty: RUN/adapt.", flag_values=values)
    flags.DEFINE_integer(
        "from_training",
        0,
        "If the run held no images out: fit on so many of its training images. It was trained on "
        "them, so its sub-models look surer and more alike than they are.",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "threads", 0, "Of TensorFlow; 0: its choice.", flag_values=values, lower_bound=0
    )


def main():
    """Fits, prints the tables and writes the files."""
    command.start_tensorflow(FLAGS.threads)
    from ipkd_tf.deployment.early_exit import policy
    from ipkd_tf.output import files
    from ipkd_tf.reports import early_exit

    budget = _budget()
    policy.check_formats(FLAGS.format)
    run = command.open_run(FLAGS)
    held_out = _held_out(run)
    made = _study(run, held_out, budget)
    fitted = made.within(budget.limit) if budget else None
    rows = made.curve()
    quantity = budget.quantity if budget else "multiply_adds"
    print(early_exit.text(made, rows, quantity))
    directory = pathlib.Path(FLAGS.output or pathlib.Path(FLAGS.run, "adapt"))
    directory.mkdir(parents=True, exist_ok=True)
    document = _document(run, made, rows, quantity, len(held_out))
    title = f"{run.result['name']}, seed {run.result['seed']}"
    early_exit.draw(made, rows, quantity, title, directory / "adapt.png")
    files.write_text(directory / "adapt.csv", early_exit.frame(made, rows).to_csv(index=False))
    if fitted:
        document["exported"] = _export(run, made, fitted, budget, directory)
    files.write_json(directory / "adapt.json", document)
    print(f"{directory}: {', '.join(sorted(path.name for path in directory.iterdir()))}")


def _budget():
    from ipkd_tf.deployment import budget as budgets

    budget = budgets.Budget.parse(FLAGS.budget) if FLAGS.budget else None
    if budget and budget.quantity == "bytes":
        raise ValueError(
            "Early exit saves time, not bytes: expected a budget such as 8M (multiply-adds) or "
            f"3ms. Received: budget={FLAGS.budget!r}"
        )
    return budget


def _held_out(run):
    """Examples to fit on: held out from training and from the test split."""
    from ipkd_tf import data

    if run.experiment.held_out is not None:
        return run.splits.validation
    if not FLAGS.from_training:
        raise ValueError(
            "The run held no images out of training, and thresholds must not be fitted on test "
            "images; train with --validation=holdout:5000, or give --from_training=5000 to fit on "
            f"images it was trained on. Received: validation={run.experiment.validation!r}"
        )
    print("Warning: thresholds are fitted on images that the network was trained on")
    train = run.splits.train
    return train.subset(data.draw(train.labels, FLAGS.from_training))


def _study(run, held_out, budget):
    import numpy as np

    from ipkd_tf.deployment.early_exit import costs, policy, simulation, study

    bar = int(sys.stdout.isatty())
    logits = [
        (np.stack(run.network.predict(part.images(), batch_size=250, verbose=bar)), part.labels)
        for part in (held_out, run.splits.test)
    ]
    spent = None
    if budget and budget.quantity == "milliseconds":
        temperatures = (1.0,) * len(run.names)
        skip = (simulation.SKIP,) * (len(run.names) - 1)
        timed = policy.Policy(skip, FLAGS.confidence, temperatures).classifier(run.network)
        spent = costs.milliseconds(timed, _to_time(held_out))
    return study.study(run.network, *logits, FLAGS.confidence, FLAGS.calibrate, spent)


def _to_time(examples):
    from ipkd_tf import data

    return examples.images(data.draw(examples.labels, _TIMED_IMAGES))


def _document(run, made, rows, quantity, held_out):
    from ipkd_tf.training import environment

    return {
        "run": run.result["name"],
        "seed": run.result["seed"],
        "epoch": run.epoch,
        "quantity": quantity,
        "confidence": made.confidence,
        "images": {"held_out": held_out, "test": len(run.splits.test)},
        "submodels": made.submodels,
        "costs": {"bodies": made.costs.bodies.tolist(), "heads": made.costs.heads.tolist()},
        "curve": rows,
        "environment": environment.describe(),
    }


def _export(run, made, fitted, budget, directory):
    """Writes the formats for a budget and says what they reach."""
    from ipkd_tf.deployment import budget as budgets
    from ipkd_tf.deployment.early_exit import policy, simulation

    images = run.splits.test.images()
    chosen = policy.Policy(fitted.thresholds, made.confidence, made.temperatures)
    outcome = simulation.simulate(made.test, made.costs, fitted.thresholds)
    facts = {
        "budget": budget.text,
        "quantity": budget.quantity,
        "test_accuracy": outcome.accuracy,
        "test_cost": outcome.cost,
        "shares": outcome.shares(len(made.names)).tolist(),
        "class_names": list(run.splits.dataset.class_names),
    }
    agreement = policy.export(
        run.network, chosen, directory, FLAGS.format, images, outcome.exits, facts
    )
    cost = budgets.amount(outcome.cost, budget.quantity)
    print(f"\nWithin {budget.text}: test accuracy {outcome.accuracy:.2%} at {cost} per image")
    limits = [*map("{:.4g}".format, fitted.thresholds), "-"]
    for name, limit, share in zip(made.names, limits, facts["shares"], strict=True):
        print(f"  {name}: threshold {limit}, {share:.2%} of the test images leave")
    for format, share in agreement.items():
        print(f"  {format}: {share:.2%} of {len(images)} images leave where simulated")
    if budget.quantity == "milliseconds":
        mean, p95 = policy.mean_milliseconds(
            chosen.classifier(run.network), _to_time(run.splits.test)
        )
        facts |= {"measured_mean_ms": mean, "measured_p95_ms": p95}
        print(f"  measured, one image at a time: mean {mean:.3g} ms, 95th percentile {p95:.3g} ms")
    return {**facts, "thresholds": list(fitted.thresholds), "agreement": agreement}


if __name__ == "__main__":
    command.start(define_flags, main)
