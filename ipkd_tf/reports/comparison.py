"""Mean, spread and paired differences over seeds of the methods on one network and data set."""

import dataclasses

import pandas as pd
from scipy import stats

from ipkd_tf.reports import paper
from ipkd_tf.reports.mixing import NETWORK_AND_DATA
from ipkd_tf.training.experiment import METHODS

AVERAGE = "average"
CONFIDENCE = 0.95
_RUN = ["method", "variant", "seed"]
_CELL = ["method", "variant", "submodel"]


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The methods side by side on one network and data set.

    Attributes:
        model: Such as msdnet.
        dataset: Such as cifar10.
        baseline: The method that differences are to.
        rows: The rows of the runs (see `runs.COLUMNS`) with `variant`, and accuracies in percent.
        cells: `pandas.DataFrame` with one row per method, variant and sub-model, and per average
            over the sub-models. Columns, in percent and points: accuracy and standard_deviation
            over the runs (NaN if there is one), `runs`; the mean `difference` to the baseline over
            the seeds of both, its confidence_low and confidence_high, `pairs`; `paper`, and
            paper_difference. NaN where there is none.
    """

    model: str
    dataset: str
    baseline: str
    rows: pd.DataFrame
    cells: pd.DataFrame

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
        own = self.cells[(self.cells["method"] == method) & (self.cells["variant"] == variant)]
        return own.set_index("submodel").reindex(self.submodels)

    def seeds(self, method, variant):
        """Seeds of the runs of one column."""
        return sorted(self._runs(method, variant)["seed"].unique().tolist())

    def costs(self, method, variant):
        """Multiply-adds of the sub-models of one column, by name."""
        return self._runs(method, variant).groupby("submodel")["multiply_adds"].first()

    def _runs(self, method, variant):
        return self.rows[(self.rows["method"] == method) & (self.rows["variant"] == variant)]


def compare(rows, baseline="none"):
    """Compares the methods of each network and data set.

    Args:
        rows: What `mixing.told_apart` returns.
        baseline: The method that differences are to.

    Returns:
        List of `Comparison`, sorted by network and data set.

    Example:
        >>> comparison, = compare(told_apart(rows))
        >>> comparison.of("ipkd_ta_m", "").loc["average", ["difference", "confidence_low"]]
    """
    return [
        _comparison(*key, baseline, group.sort_values(_RUN, key=_paper_order, kind="stable"))
        for key, group in rows.groupby(NETWORK_AND_DATA)
    ]


def _paper_order(column):
    if column.name != "method":
        return column
    return column.map(lambda method: (METHODS.index(method) if method in METHODS else 99, method))


def _comparison(model, dataset, baseline, rows):
    rows = rows.assign(accuracy=100 * rows["accuracy"])
    scores = _with_averages(rows)
    cells = scores.groupby(_CELL, sort=False)["accuracy"]
    cells = cells.agg(accuracy="mean", standard_deviation="std", runs="count")
    cells = cells.join(_differences(scores, baseline)).reset_index()
    of_paper = _paper_cells(model, dataset, baseline, cells["submodel"])
    cells = cells.merge(of_paper, "left", ["method", "submodel"])
    return Comparison(model, dataset, baseline, rows, cells)


def _with_averages(rows):
    scores = rows[[*_RUN, "submodel", "accuracy"]]
    average = scores.groupby(_RUN, sort=False)["accuracy"].mean().reset_index()
    whole = pd.concat([scores, average.assign(submodel=AVERAGE)], ignore_index=True)
    order = {name: number for number, name in enumerate(whole["submodel"].unique())}
    return whole.sort_values(
        [*_RUN, "submodel"],
        key=lambda column: column.map(order) if column.name == "submodel" else _paper_order(column),
        kind="stable",
    )


def _differences(scores, baseline):
    """Mean difference per cell over the seeds that the method and the baseline share."""
    reference = scores[scores["method"] == baseline]
    # One baseline serves all variants; of several, each variant has its own.
    alike = ["variant"] if reference["variant"].nunique() > 1 else []
    reference = reference[["seed", "submodel", *alike, "accuracy"]]
    others = scores[scores["method"] != baseline]
    pairs = others.merge(reference, on=["seed", "submodel", *alike], suffixes=("", "_baseline"))
    pairs["difference"] = pairs["accuracy"] - pairs["accuracy_baseline"]
    cells = pairs.groupby(_CELL, sort=False)["difference"]
    cells = cells.agg(difference="mean", error="sem", pairs="count")
    # Student's t: the standard deviation of the differences is itself estimated from them.
    quantile = stats.t.ppf((1 + CONFIDENCE) / 2, cells["pairs"] - 1)
    half = cells.pop("error") * quantile
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
