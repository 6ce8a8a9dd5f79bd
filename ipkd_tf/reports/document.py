"""The report as files: tables in Markdown, CSV and LaTeX, figures, and what is left out."""

import pathlib
import re

import pandas as pd

from ipkd_tf.output import figures as drawing
from ipkd_tf.output import files
from ipkd_tf.reports import figures, tables

FORMATS = ("markdown", "csv", "latex")


def markdown(comparisons, left_out=None, figure="{}.png"):
    """The whole report as Markdown text.

    Args:
        comparisons: List of `Comparison`.
        left_out: Why a run is not in it, by directory.
        figure: Where the figures are, `{}` standing for the name of a comparison; "" for none.
    """
    parts = ["# Results"]
    for comparison in comparisons:
        parts.append(f"## {comparison.model} on {comparison.dataset}")
        parts.append(tables.accuracies(comparison).markdown())
        if figure:
            name = figure.format(file_name(comparison))
            parts.append(f"![Accuracy by sub-model and by multiply-adds]({name})")
        if differences := tables.differences(comparison):
            parts.append(differences.markdown())
    if left_out:
        parts.append("## Not included")
        parts.append("\n".join(f"* {path}: {why}" for path, why in left_out.items()))
    return "\n\n".join(parts) + "\n"


def latex(comparisons):
    """The tables as LaTeX floats, for `\\input` in a document that uses booktabs."""
    parts = []
    for comparison in comparisons:
        name = file_name(comparison)
        parts.append(tables.accuracies(comparison, tables.LATEX).latex(f"tab:{name}"))
        if differences := tables.differences(comparison, tables.LATEX):
            parts.append(differences.latex(f"tab:{name}_differences"))
    return "\n".join(parts)


def summary(comparisons):
    """All cells of all comparisons in long form, a `pandas.DataFrame`."""
    frames = [one.cells.assign(model=one.model, dataset=one.dataset) for one in comparisons]
    whole = pd.concat(frames, ignore_index=True)
    return whole[["model", "dataset", *whole.columns.drop(["model", "dataset"])]]


def file_name(comparison):
    """A name for the files of a comparison, such as msdnet_cifar10."""
    return re.sub(r"[^\w.]+", "_", f"{comparison.model}_{comparison.dataset}").strip("_")


def write(directory, comparisons, left_out=None, formats=FORMATS):
    """Writes report.md with PNG figures, summary.csv, and report.tex with PDF figures.

    Args:
        directory: Created if need be.
        comparisons: List of `Comparison`.
        left_out: Why a run is not in it, by directory.
        formats: Some of `FORMATS`.

    Returns:
        List of the paths written.

    Raises:
        ValueError: A format is unknown.
    """
    if unknown := set(formats) - set(FORMATS):
        raise ValueError(f"Expected some of {', '.join(FORMATS)}. Received: formats={unknown}")
    directory = pathlib.Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    texts = {
        "markdown": ("report.md", lambda: markdown(comparisons, left_out)),
        "csv": ("summary.csv", lambda: summary(comparisons).round(4).to_csv(index=False)),
        "latex": ("report.tex", lambda: latex(comparisons)),
    }
    for form in formats:
        name, make = texts[form]
        files.write_text(directory / name, make())
    endings = [
        ending for form, ending in (("markdown", "png"), ("latex", "pdf")) if form in formats
    ]
    drawn = [f"{file_name(one)}.{ending}" for one in comparisons for ending in endings]
    for one in comparisons if endings else ():
        figure = figures.draw(one)
        for ending in endings:
            drawing.save(figure, directory / f"{file_name(one)}.{ending}")
    return [directory / name for name in [*(texts[form][0] for form in formats), *drawn]]
