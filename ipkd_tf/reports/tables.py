"""A comparison as tables in the paper's layout, each with the note that stands below it."""

import dataclasses

import pandas as pd

from ipkd_tf.output import tables
from ipkd_tf.reports import paper
from ipkd_tf.reports.comparison import AVERAGE, CONFIDENCE


@dataclasses.dataclass(frozen=True)
class Table:
    """Cells as text, the best in `**`, and the note that explains them."""

    cells: pd.DataFrame
    note: str

    def markdown(self):
        return tables.markdown(self.cells, self.note)

    def latex(self, label):
        return tables.latex(self.cells, self.note, label)


def accuracies(comparison):
    """Sub-models and their average by methods: mean, standard deviation, the paper's figure."""
    return Table(_scores(comparison, "accuracy", "max", _accuracy), _note(comparison))


def differences(comparison):
    """Each method minus the baseline, paired by seed; None if no seed has both."""
    variants = [v for v in comparison.variants if comparison.of(*v)["pairs"].any()]
    if not variants:
        return None
    columns = [comparison.of(*variant) for variant in variants]
    texts = [[difference_text(cell) for cell in column.itertuples()] for column in columns]
    cells = _frame(comparison, variants, "pairs", texts)
    reference = _paper_average(comparison, variants)
    if reference:
        cells.loc[f"{AVERAGE}, paper's {paper.full_size(comparison.model)}"] = reference
    pairs = pd.concat([column["pairs"] for column in columns]).dropna().astype(int)
    equal = any("‡" in text for column in texts for text in column)
    return Table(cells, _note_on_differences(comparison, pairs, reference, equal))


def losses(comparison):
    """Cross-entropy and calibration error of sub-models by methods, means over the runs."""
    note = "Cross-entropy in nats on the test images, mean over seeds; lowest of each row in bold; "
    note += "in brackets the expected calibration error in % (15 bins), where it is known."
    return Table(_scores(comparison, "loss", "min", _loss), note)


def training(comparison):
    """What each method's networks take together; None if one network has all sub-models anyway."""
    rows = comparison.training
    if rows["networks"].max() == 1:
        return None
    cells = rows.map(lambda value: "-" if pd.isna(value) else f"{value:,.0f}")
    cells.index = pd.Index([paper.title(*variant) for variant in rows.index], name="method")
    note = "All networks of a column together, mean over seeds; seconds as each run took them."
    return Table(cells.rename(columns={"seconds": "training, seconds"}), note)


def _scores(comparison, score, choose, text):
    """Sub-models by methods as `text` writes a cell, given what is best in its row of several."""
    columns = [comparison.of(*variant) for variant in comparison.variants]
    shown = pd.concat([column[score].map(_round) for column in columns], axis=1)
    best = shown.agg(choose, axis=1) if len(columns) > 1 else pd.Series(float("nan"), shown.index)
    texts = [[text(cell, best[cell.Index]) for cell in column.itertuples()] for column in columns]
    return _frame(comparison, comparison.variants, "runs", texts)


def _frame(comparison, variants, counts, texts):
    """Texts under the titles of their columns, with a dagger where all rests on one seed."""
    single = [variant for variant in variants if comparison.of(*variant)[counts].max() == 1]
    heads = [paper.title(*variant) + "†" * (variant in single) for variant in variants]
    frame = pd.DataFrame(dict(enumerate(texts)), index=comparison.submodels)
    return frame.set_axis(heads, axis=1).rename_axis("sub-model")


def _round(value):
    """The number that the page shows: what looks equal there is equally good."""
    return float(f"{value:.2f}")


def _accuracy(cell, best):
    if pd.isna(cell.accuracy):
        return ""
    text = f"{cell.accuracy:.2f}" + (f" ± {cell.standard_deviation:.2f}" if cell.runs > 1 else "")
    text = f"**{text}**" if _round(cell.accuracy) == best else text
    return text if pd.isna(cell.paper) else f"{text} ({cell.paper:.2f})"


def _loss(cell, best):
    if pd.isna(cell.loss):
        return ""
    text = f"**{cell.loss:.2f}**" if _round(cell.loss) == best else f"{cell.loss:.2f}"
    known = not pd.isna(cell.calibration_error)
    return f"{text} ({100 * cell.calibration_error:.1f})" if known else text


def difference_text(cell):
    """A difference and its interval, and the paper's."""
    if pd.isna(cell.difference):
        return ""
    text = f"{cell.difference:+.2f}"
    if cell.pairs > 1:
        text += f" [{cell.confidence_low:+.2f}, {cell.confidence_high:+.2f}]"
        text += "‡" * (_round(cell.confidence_high) == _round(cell.confidence_low))
    return text if pd.isna(cell.paper_difference) else f"{text} ({cell.paper_difference:+.2f})"


def _paper_average(comparison, variants):
    """The differences of the paper's average, of a network that is the full one's reduced form."""
    table = paper.accuracies(paper.full_size(comparison.model), comparison.dataset)
    if table is None or comparison.cells["paper"].notna().any():
        return None
    average = paper.differences(table, comparison.baseline).loc[AVERAGE]
    texts = [f"{average[method]:+.2f}" if method in average else "" for method, _ in variants]
    return texts if any(texts) else None


def _note(comparison):
    """How the accuracies came about and what they rest on."""
    seeds = [comparison.seeds(*variant) for variant in comparison.variants]
    several = {}  # columns by the seeds they have in common
    for variant, own in zip(comparison.variants, seeds, strict=True):
        if len(own) > 1:
            several.setdefault(_join(own), []).append(paper.title(*variant))
    parts = [_protocol(comparison.rows)]
    if several:
        first, *others = several
        others = _join([f"{_join(several[own])}: {own}" for own in others], "; ")
        text = f"mean ± standard deviation over seeds {first}"
        parts.append(f"{text} ({others})" if others else text)
    if len(seeds) > 1:
        parts.append("best of each row in bold")
    if single := sorted({own[0] for own in seeds if len(own) == 1}):
        parts.append(f"† one seed ({_join(single)}), so the spread is unknown")
    if comparison.cells["paper"].notna().any():
        parts.append(f"in brackets {_paper_protocol(comparison.model)}")
    return "; ".join(parts) + "."


def _note_on_differences(comparison, pairs, reference, equal):
    baseline = paper.title(comparison.baseline).replace("No d", "no d")
    parts = [f"Difference to {baseline} in points of accuracy, each run against that of its seed"]
    if several := sorted({*pairs} - {0, 1}):
        count = _join(several, " or ")
        parts.append(f"mean of {count} pairs [{CONFIDENCE:.0%} confidence interval, Student's t]")
    if equal:
        parts.append("‡ the pairs are equal, so the interval says nothing")
    if 1 in {*pairs}:
        parts.append("† one pair, so no interval")
    if reference:
        parts.append(f"last row: {_paper_protocol(comparison.model)}")
    elif comparison.cells["paper_difference"].notna().any():
        parts.append("in brackets the paper's differences")
    return "; ".join(parts) + "."


def _protocol(rows):
    which = rows["which"].iloc[0]
    text = f"Accuracy in % on {_either(rows['test_images'])} test images, {which} epoch of "
    text += _either(rows["epochs"])
    if which == "last":
        return text
    if set(rows["validation"]) == {"test"}:
        return f"{text} (chosen on the test images)"
    return f"{text} (chosen on {_either(rows['validation_images'])} held-out images)"


def _paper_protocol(model):
    epochs = paper.EPOCHS[paper.full_size(model)]
    return f"the paper's full network after {epochs} epochs, chosen on the test images"


def _join(values, separator=", "):
    return separator.join(map(str, values))


def _either(numbers):
    return _join([f"{number:,}" for number in sorted(numbers.unique())], " or ")
