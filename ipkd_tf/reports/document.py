"""The report as files, and its tables between marks in other Markdown files."""

import html as escaping
import pathlib
import re

import pandas as pd

from ipkd_tf.output import figures as drawing
from ipkd_tf.output import files
from ipkd_tf.output.checks import check
from ipkd_tf.reports import evidence, figures, tables

FORMATS = ("markdown", "html", "csv", "latex")
# Names come from files of others: the policy lets no script run, whatever they hold.
_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Results</title>
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<style>
body {{font: 16px/1.5 sans-serif; max-width: 70em; margin: 2em auto; padding: 0 1em}}
img {{max-width: 100%}}
table {{border-collapse: collapse}}
td, th {{padding: .2em .8em; border-bottom: 1px solid #ccc}}
</style></head><body>
{}
</body></html>
"""
_MARK = re.compile(r"^<!-- report: .*$", re.M)
# Another comment inside means that the end mark is missing: nothing beyond may be replaced.
_MARKED = re.compile(
    r"(^<!-- report: (\S+) (\S+)( differences)? -->\n)(?:(?!<!--).)*(<!-- end -->)", re.M | re.S
)


def markdown(comparisons, left_out=None, figure="{}.png"):
    """The whole report as Markdown text.

    Args:
        comparisons: List of `Comparison`.
        left_out: Why a run is not in it, by directory.
        figure: Where the figures are, `{}` standing for the name of a comparison; "" for none.
    """
    parts = ["# Results"]
    for study in evidence.studies(comparisons):
        parts.append(f"## {study.title}")
        if figure and study.draw:
            parts.append(f"![{study.title}]({figure.format(study.name)})")
        parts.append(study.table.markdown())
    for name, comparison in _by_file_name(comparisons).items():
        parts.append(f"## {comparison.title}")
        parts.append(tables.accuracies(comparison).markdown())
        if figure:
            parts.append(f"![Accuracy by sub-model and by multiply-adds]({figure.format(name)})")
        parts += [table.markdown() for table in _further_tables(comparison).values()]
    if left_out:
        parts.append("## Not included")
        parts.append("\n".join(f"* {path}: {why}" for path, why in left_out.items()))
    return "\n\n".join(parts) + "\n"


def html(comparisons, left_out=None):
    """The same as one HTML file that holds its pictures."""
    import markdown as converter

    text = escaping.escape(markdown(comparisons, left_out), quote=False)
    body = converter.markdown(text, extensions=["tables"])
    for name, figure in _figures(comparisons):
        picture = drawing.data_uri(figure)
        body = body.replace(f'src="{name}.png"', f'src="{picture}"')
    return _PAGE.format(body)


def latex(comparisons):
    """The tables as LaTeX floats, for `\\input` in a document that uses booktabs."""
    parts = ["% Needs \\usepackage{booktabs}."]
    parts += [one.table.latex(f"tab:{one.name}") for one in evidence.studies(comparisons)]
    for name, comparison in _by_file_name(comparisons).items():
        parts.append(tables.accuracies(comparison).latex(f"tab:{name}"))
        for which, table in _further_tables(comparison).items():
            parts.append(table.latex(f"tab:{name}_{which}"))
    return "\n".join(parts)


def _further_tables(comparison):
    further = {
        "differences": tables.differences(comparison),
        "ranking": evidence.ranking(comparison),
        "losses": tables.losses(comparison),
        "training": tables.training(comparison),
    }
    return {which: table for which, table in further.items() if table}


def _figures(comparisons):
    """(name, figure) of each study that has one and of each comparison."""
    for study in evidence.studies(comparisons):
        if study.draw:
            yield study.name, study.draw()
    for name, comparison in _by_file_name(comparisons).items():
        yield name, figures.draw(comparison)


def summary(comparisons):
    """All cells of all comparisons in long form, a `pandas.DataFrame`."""
    key = ["model", "dataset", "setting"]
    frames = [one.cells.assign(**{name: getattr(one, name) for name in key}) for one in comparisons]
    whole = pd.concat(frames, ignore_index=True)
    return whole[[*key, *whole.columns.drop(key)]]


def _by_file_name(comparisons):
    """The comparisons by a name for their files, such as msdnet_cifar10; equal ones numbered."""
    names = {}
    for one in comparisons:
        base = re.sub(r"[^\w.]+", "_", f"{one.model}_{one.dataset}_{one.setting}").strip("_")
        numbered = (f"{base}_{number}" for number in range(2, len(comparisons) + 1))
        names[next(name for name in (base, *numbered) if name not in names)] = one
    return names


def write(directory, comparisons, left_out=None, formats=FORMATS):
    """Writes report.md and its figures, report.html, summary.csv, and report.tex with its figures.

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
    expected = f"some of {', '.join(FORMATS)}"
    check({*formats} <= {*FORMATS}, expected, formats={*formats} - {*FORMATS})
    directory = pathlib.Path(directory)
    makers = {
        "markdown": ("report.md", lambda: markdown(comparisons, left_out)),
        "html": ("report.html", lambda: html(comparisons, left_out)),
        "csv": ("summary.csv", lambda: summary(comparisons).round(4).to_csv(index=False)),
        "latex": ("report.tex", lambda: latex(comparisons)),
    }
    texts = {directory / makers[form][0]: makers[form][1]() for form in formats}
    for path, text in texts.items():
        files.write_text(path, text)
    written = [*texts]
    ending = "png" if "markdown" in formats else "pdf"  # A PDF comes with each PNG.
    if {"markdown", "latex"} & {*formats}:
        for name, figure in _figures(comparisons):
            written += drawing.save(figure, directory / f"{name}.{ending}")
    return written


def fill(text, comparisons):
    """Replaces what stands between each pair of marks by the table that the first one names.

    Args:
        text: Markdown with lines such as `<!-- report: msdnet_small cifar10 -->` or
            `<!-- report: msdnet_small cifar10 differences -->`, each with its `<!-- end -->`.
        comparisons: List of `Comparison`.

    Raises:
        ValueError: There is no mark, one has no end before the next comment, or none of the
            comparisons is the one a mark names.
    """
    by_name = {(one.model, one.dataset): one for one in comparisons}
    complete = {match.start() for match in _MARKED.finditer(text)}
    marks = {mark.start(): mark[0] for mark in _MARK.finditer(text)}
    expected = "marks such as <!-- report: msdnet_small cifar10 --> and <!-- end -->"
    check(marks, expected, marks="none")
    expected = "<!-- report: MODEL DATASET --> or ... DATASET differences -->, and <!-- end --> "
    open_marks = [mark for start, mark in marks.items() if start not in complete]
    check(not open_marks, f"{expected}before any other comment", mark=[*open_marks, None][0])

    def table(match):
        begin, model, dataset, differences, end = match.groups()
        make = tables.differences if differences else tables.accuracies
        table = make(by_name[model, dataset]) if (model, dataset) in by_name else None
        check(table, "a finished run for each mark", mark=begin.strip())
        return f"{begin}{table.markdown()}\n{end}"

    return _MARKED.sub(table, text)
