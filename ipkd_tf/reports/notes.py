"""What stands under a table: how its figures came about and what they rest on."""

from ipkd_tf.reports import paper
from ipkd_tf.reports.comparison import CONFIDENCE


def on_accuracies(comparison):
    """The note under `tables.accuracies`."""
    seeds = {variant: comparison.seeds(*variant) for variant in comparison.variants}
    parts = [_measured(comparison.rows)]
    if any(len(own) > 1 for own in seeds.values()):
        parts.append(f"mean ± standard deviation over seeds {_seeds(seeds)}")
    if len(seeds) > 1:
        parts.append("best of each row in bold")
    if single := sorted({own[0] for own in seeds.values() if len(own) == 1}):
        parts.append(f"† one seed ({_listed(single)}), so the spread is unknown")
    if comparison.cells["paper"].notna().any():
        parts.append(f"in brackets {_protocol(comparison.model)}")
    return "; ".join(parts) + "."


def on_differences(comparison, variants, reference):
    """The note under `tables.differences`.

    Args:
        comparison: `Comparison`.
        variants: Its columns in the table.
        reference: Whether the table has a row of the paper's full network.
    """
    pairs = [int(comparison.of(*variant)["pairs"].max()) for variant in variants]
    baseline = paper.title(comparison.baseline).lower()
    parts = [f"Difference to {baseline} in points of accuracy, each run against that of its seed"]
    if max(pairs) > 1:
        several = _listed(sorted(set(pairs) - {1}), " or ")
        parts.append(f"mean of {several} pairs [{CONFIDENCE:.0%} confidence interval, Student's t]")
    if min(pairs) == 1:
        parts.append("† one pair, so no interval")
    if reference:
        parts.append(f"last row: {_protocol(comparison.model)}")
    elif comparison.cells["paper_difference"].notna().any():
        parts.append("in brackets the paper's differences")
    return "; ".join(parts) + "."


def _measured(rows):
    which = rows["which"].iloc[0]
    text = f"Accuracy in % on {_either(rows['test_images'])} test images, {which} epoch of "
    text += _either(rows["epochs"])
    if which == "last":
        return text
    if set(rows["validation"]) == {"test"}:
        return f"{text} (chosen on the test images)"
    return f"{text} (chosen on {_either(rows['validation_images'])} held-out images)"


def _protocol(model):
    epochs = paper.EPOCHS[paper.full_size(model)]
    return f"the paper's full network after {epochs} epochs, chosen on the test images"


def _seeds(seeds):
    """The seeds all columns with several rest on, or those of each column in its turn."""
    several = {_listed(own) for own in seeds.values() if len(own) > 1}
    return several.pop() if len(several) == 1 else " / ".join(map(_listed, seeds.values()))


def _listed(values, separator=", "):
    return separator.join(map(str, values))


def _either(numbers):
    return _listed([f"{number:,}" for number in sorted(numbers.unique())], " or ")
