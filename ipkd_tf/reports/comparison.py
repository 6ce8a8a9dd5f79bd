"""Mean, spread and paired differences over seeds of the methods on one network and data set."""

import dataclasses
import re

import pandas as pd
from scipy import stats

from ipkd_tf.reports import paper
from ipkd_tf.reports.runs import NETWORK_AND_DATA
from ipkd_tf.training.experiment import METHODS

AVERAGE = "average"
CONFIDENCE = 0.95
_RUN = ["method", "variant", "seed"]
_CELL = ["method", "variant", "submodel"]
_SCORES = ["accuracy", "loss", "calibration_error"]


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The methods side by side on one network and data set.

    Attributes:
        baseline: The method that differences are to.
        rows: The rows of the runs (see `runs.COLUMNS`) with `variant`, and accuracies in percent.
        cells: `pandas.DataFrame` with one row per method, variant and sub-model, and per average
            over the sub-models. Columns, in percent and points: accuracy and standard_deviation
            over the runs (NaN if there is one), `runs`; mean loss (nats) and calibration_error (a
            share); the mean `difference` to the baseline over
            the seeds of both, its confidence_low and confidence_high, `pairs`; `paper`, and
            paper_difference. NaN where there is none.
        setting: What its runs share and those of others do not, such as "epochs=60", or "".
    """

    model: str
    dataset: str
    baseline: str
    rows: pd.DataFrame
    cells: pd.DataFrame
    setting: str = ""

    @property
    def title(self):
        return f"{self.model} on {self.dataset}" + (f", {self.setting}" if self.setting else "")

    def differences_to(self, baseline):
        """Differences of all columns to another method, as in `cells`, by column and sub-model."""
        return _differences(_add_averages(self.rows), baseline)

    @property
    def variants(self):
        """(method, variant) of each column, in the paper's order."""
        return list(self.cells[["method", "variant"]].drop_duplicates().itertuples(index=False))

    @property
    def submodels(self):
        """Names of the sub-models, smallest first, and "average"."""
        return list(self.cells["submodel"].unique())

    def of(self, method, variant):
        """The cells of one column, by sub-model; sub-models that it has not are NaN."""
        cells = _select(self.cells, method, variant)
        return cells.set_index("submodel").reindex(self.submodels)

    def seeds(self, method, variant):
        """Seeds of the runs of one column."""
        return sorted(_select(self.rows, method, variant)["seed"].unique().tolist())

    @property
    def training(self):
        """What each column takes to have all its sub-models, the mean over seeds, as a frame.

        Columns: networks, and their parameters (NaN if unknown) and training seconds together.
        """
        rows = self.rows.drop_duplicates("source")
        rows = rows.assign(parameters=rows["network_parameters"].replace(0, float("nan")))
        each = rows.groupby(_RUN, sort=False).agg(
            networks=("source", "count"),
            parameters=("parameters", lambda values: values.sum(skipna=False)),
            seconds=("training_seconds", "sum"),
        )
        return each.groupby(_RUN[:2], sort=False).mean()

    def costs(self, method, variant):
        """Multiply-adds of the sub-models of one column, by name."""
        rows = _select(self.rows, method, variant)
        return rows.groupby("submodel")["multiply_adds"].first()


def _select(frame, method, variant):
    return frame[(frame["method"] == method) & (frame["variant"] == variant)]


def compare(rows, baseline="none"):
    """Compares the methods of each network, data set and setting.

    Args:
        rows: What `runs.label_variants` returns.
        baseline: The method that differences are to.

    Returns:
        List of `Comparison`, sorted by network, data set and setting.

    Example:
        >>> comparison, = compare(label_variants(rows))
        >>> comparison.of("ipkd_ta_m", "").loc["average", ["difference", "confidence_low"]]
    """
    groups = rows.groupby([*NETWORK_AND_DATA, "setting"])
    return [
        _comparison(*key, baseline, group.sort_values(_RUN, key=_paper_order, kind="stable"))
        for key, group in sorted(groups, key=lambda pair: [*map(_by_number, pair[0])])
    ]


def _by_number(text):
    """A key that puts epochs=20 before epochs=100."""
    return [(part.zfill(12) if part.isdigit() else part) for part in re.split(r"(\d+)", text)]


def _paper_order(column):
    if column.name != "method":
        return column
    last = len(METHODS)
    return column.map(lambda method: (METHODS.index(method) if method in METHODS else last, method))


def _comparison(model, dataset, setting, baseline, rows):
    rows = rows.assign(accuracy=100 * rows["accuracy"])
    scores = _add_averages(rows)
    by_cell = scores.groupby(_CELL, sort=False)
    cells = by_cell["accuracy"].agg(accuracy="mean", standard_deviation="std", runs="count")
    cells = cells.join(by_cell[_SCORES[1:]].mean())
    cells = cells.join(_differences(scores, baseline)).reset_index()
    of_paper = _paper_cells(model, dataset, baseline, cells["submodel"])
    cells = cells.merge(of_paper, "left", ["method", "submodel"])
    return Comparison(model, dataset, baseline, rows, cells, setting)


def _add_averages(rows):
    scores = rows[[*_RUN, "submodel", *_SCORES]]
    runs = scores.groupby(_RUN, sort=False)
    average = runs[_SCORES].mean()
    # Of sub-models trained alone some may be missing still: their average is another quantity.
    alone = average.index.get_level_values("method").str.contains(r"\balone$")
    average = average[~alone | (runs["submodel"].count() == scores["submodel"].nunique())]
    average = average.reset_index()
    scores = pd.concat([scores, average.assign(submodel=AVERAGE)], ignore_index=True)
    order = {name: number for number, name in enumerate(scores["submodel"].unique())}
    return scores.sort_values(
        [*_RUN, "submodel"],
        key=lambda column: column.map(order) if column.name == "submodel" else _paper_order(column),
        kind="stable",
    )


def _differences(scores, baseline):
    """Mean difference per cell over the seeds that the method and the baseline share."""
    reference = scores[scores["method"] == baseline]
    # One baseline serves all variants; of several, each variant has its own.
    on = ["seed", "submodel"] + (["variant"] if reference["variant"].nunique() > 1 else [])
    others = scores[scores["method"] != baseline]
    pairs = others.merge(reference[[*on, "accuracy"]], on=on, suffixes=("", "_baseline"))
    pairs["difference"] = pairs["accuracy"] - pairs["accuracy_baseline"]
    cells = pairs.groupby(_CELL, sort=False)["difference"]
    cells = cells.agg(difference="mean", error="sem", pairs="count")
    # Student's t: the standard deviation of the differences is itself estimated from them.
    half = cells.pop("error") * stats.t.ppf((1 + CONFIDENCE) / 2, cells["pairs"] - 1)
    cells.insert(1, "confidence_low", cells["difference"] - half)
    cells.insert(2, "confidence_high", cells["difference"] + half)
    return cells


def _paper_cells(model, dataset, baseline, submodels):
    table = paper.accuracies(model, dataset)
    if table is None or set(table.index) != set(submodels):
        table = pd.DataFrame(columns=list(METHODS), dtype=float)
    differences = paper.differences(table, baseline)
    cells = {"paper": table.stack(), "paper_difference": differences.stack()}
    return pd.DataFrame(cells).rename_axis(["submodel", "method"]).reset_index()
