"""A comparison as tables in the paper's layout, in Markdown or LaTeX, each with its note."""

import dataclasses
from collections.abc import Callable

import pandas as pd

from ipkd_tf.reports import notes, paper
from ipkd_tf.reports.comparison import AVERAGE

_LATEX_SPECIAL = str.maketrans(
    {sign: f"\\{sign}" for sign in "_%&#${}"} | {"±": "$\\pm$", "†": "$^\\dagger$"}
)


@dataclasses.dataclass(frozen=True)
class Markup:
    """How a format writes bold text and plain text."""

    bold: Callable[[str], str]
    text: Callable[[str], str]


MARKDOWN = Markup("**{}**".format, lambda text: text.replace("|", "\\|"))
LATEX = Markup("\\textbf{{{}}}".format, lambda text: text.translate(_LATEX_SPECIAL))


@dataclasses.dataclass(frozen=True)
class Table:
    """Cells as text, ready for the page, and the note that explains them."""

    cells: pd.DataFrame
    note: str

    def markdown(self):
        table = self.cells.to_markdown(
            colalign=["left", *["right"] * self.cells.shape[1]], disable_numparse=True
        )
        return f"{table}\n\n{self.note}"

    def latex(self, label):
        """A floating table; the document needs the package booktabs."""
        cells = self.cells.rename_axis(None)
        return cells.to_latex(
            escape=False,
            caption=self.note,
            label=label,
            position="tb",
            column_format="l" + "r" * cells.shape[1],
        ).replace("\\begin{tabular}", "\\centering\n\\begin{tabular}")


def accuracies(comparison, markup=MARKDOWN):
    """Sub-models and their average by methods: mean, standard deviation, the paper's figure.

    Args:
        comparison: `Comparison`.
        markup: `MARKDOWN` or `LATEX`.
    """
    columns = [comparison.of(*variant) for variant in comparison.variants]
    best = pd.concat([column["accuracy"] for column in columns], axis=1).map(_shown).max(axis=1)
    if len(columns) == 1:  # One method alone is not the best of anything.
        best[:] = float("nan")
    texts = [
        [_accuracy(cell, best[cell.Index], markup) for cell in column.itertuples()]
        for column in columns
    ]
    heads = [_head(comparison, variant, markup) for variant in comparison.variants]
    cells = _frame(comparison.submodels, heads, texts, markup)
    return Table(cells, markup.text(notes.on_accuracies(comparison)))


def differences(comparison, markup=MARKDOWN):
    """Each method minus the baseline, paired by seed; None if no seed has both.

    Args:
        comparison: `Comparison`.
        markup: `MARKDOWN` or `LATEX`.
    """
    variants = [v for v in comparison.variants if comparison.of(*v)["pairs"].any()]
    if not variants:
        return None
    columns = [comparison.of(*variant) for variant in variants]
    texts = [[_difference(cell, markup) for cell in column.itertuples()] for column in columns]
    heads = [_marked(variant, comparison.of(*variant)["pairs"], markup) for variant in variants]
    cells = _frame(comparison.submodels, heads, texts, markup)
    reference = _paper_average(comparison, variants)
    if reference is not None:
        name = paper.full_size(comparison.model)
        cells.loc[markup.text(f"{AVERAGE}, paper's {name}")] = reference
    return Table(cells, markup.text(notes.on_differences(comparison, variants, reference)))


def _frame(submodels, heads, texts, markup):
    data = dict(enumerate(texts))
    frame = pd.DataFrame(data, index=[markup.text(name) for name in submodels])
    return frame.set_axis(heads, axis=1).rename_axis("sub-model")


def _shown(value):
    """The number that the page shows: what looks equal there is equally good."""
    return float(f"{value:.2f}")


def _accuracy(cell, best, markup):
    if pd.isna(cell.accuracy):
        return ""
    text = f"{cell.accuracy:.2f}"
    if cell.runs > 1:
        text += f" ± {cell.standard_deviation:.2f}"
    text = markup.text(text)
    text = markup.bold(text) if _shown(cell.accuracy) == best else text
    return text if pd.isna(cell.paper) else f"{text} ({cell.paper:.2f})"


def _difference(cell, markup):
    if pd.isna(cell.difference):
        return ""
    text = f"{cell.difference:+.2f}"
    if cell.pairs > 1:
        text += f" [{cell.confidence_low:+.2f}, {cell.confidence_high:+.2f}]"
    return text if pd.isna(cell.paper_difference) else f"{text} ({cell.paper_difference:+.2f})"


def _head(comparison, variant, markup):
    return _marked(variant, comparison.of(*variant)["runs"], markup)


def _marked(variant, counts, markup):
    """The title of a column, with a dagger if it rests on one seed."""
    return markup.text(paper.title(*variant) + ("†" if counts.max() == 1 else ""))


def _paper_average(comparison, variants):
    """The differences of the paper's average, of a network that is the full one's reduced form."""
    table = paper.accuracies(paper.full_size(comparison.model), comparison.dataset)
    if table is None or comparison.cells["paper"].notna().any():
        return None
    average = paper.differences(table, comparison.baseline).loc[AVERAGE]
    texts = [f"{average[method]:+.2f}" if method in average else "" for method, _ in variants]
    return texts if any(texts) else None
