"""What many settings say together: a gain against epochs or images, and how often one is ahead."""

import collections
import dataclasses
import functools
import itertools
import re
from collections.abc import Callable

import pandas as pd
from scipy import stats

from ipkd_tf.distillation import teachers
from ipkd_tf.output import figures
from ipkd_tf.reports import paper, tables
from ipkd_tf.reports.comparison import AVERAGE, CONFIDENCE
from ipkd_tf.reports.runs import OF_METHOD, SETTINGS
from ipkd_tf.training.experiment import METHODS

_PROPOSED = "ipkd_ta_m"
_AXES = {"epochs": ("epochs",), "train_images": ("train_images", "train_examples")}
_WHERE = {"average": -1, "smallest": 0, "largest": -2}  # places among a comparison's sub-models


@dataclasses.dataclass(frozen=True)
class Study:
    """A table over several comparisons, the name of its file, and its figure if it has one."""

    name: str
    title: str
    table: tables.Table
    draw: Callable | None = None


def studies(comparisons):
    """All that can be said about these comparisons together, a list of `Study`."""
    ahead = count_ahead(comparisons)
    found = [Study("ahead", "IPKD-TA-M against the others", ahead)] if ahead else []
    for axis in _AXES:
        for title, group in _along(comparisons, axis):
            table = curve(group, axis)
            if table:
                name = re.sub(r"[^\w.]+", "_", f"{title}_{axis}")
                draw = functools.partial(draw_curve, group, axis, title)
                heading = f"Gain against {axis.replace('_', ' ')}, {title}"
                found.append(Study(name, heading, table, draw))
    return found


def count_ahead(comparisons):
    """In how many settings IPKD-TA-M is ahead of each other one, by what; None of fewer than 2."""
    texts, method = {}, _PROPOSED
    for other in (name for name in METHODS if name != method):
        found = collections.defaultdict(list)
        for one in comparisons:
            cells = one.differences_to(other).reset_index()
            cells = cells[cells["method"] == method].set_index("submodel")["difference"]
            for head, place in _WHERE.items():
                found[head] += list(cells[cells.index == one.submodels[place]].dropna())
        if len(found[AVERAGE]) > 1:
            texts[paper.title(other)] = {head: _count(found[head]) for head in _WHERE}
    if not texts:
        return None
    note = (
        f"Settings in which {paper.title(method)} is ahead, by its mean difference over seeds in "
    )
    note += f"points of accuracy; the mean of these over the settings [{CONFIDENCE:.0%} confidence "
    note += "interval, Student's t over settings]; sub-models: their average, smallest, largest."
    return tables.Table(pd.DataFrame(texts).T.rename_axis("against"), note)


def _count(differences):
    values = pd.Series(differences)
    half = values.sem() * stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1)
    mean = values.mean()
    text = f"{(values > 0).sum()} of {len(values)}, {mean:+.2f}"
    return f"{text} [{mean - half:+.2f}, {mean + half:+.2f}]"


def _along(comparisons, axis):
    """Comparisons that differ in this alone, in its order, under what they share; two or more."""
    names = [name for name in (*SETTINGS, "train_images") if name not in OF_METHOD]
    groups = collections.defaultdict(dict)
    for one in comparisons:
        facts = one.rows.iloc[0]
        shared = [(name, facts[name]) for name in names if name not in _AXES[axis]]
        groups[one.model, one.dataset, *shared][facts[axis]] = one
    for group in groups.values():
        if len(group) > 1:
            one = next(iter(group.values()))
            parts = [part for part in one.setting.split(", ") if part]
            kept = [part for part in parts if part.partition("=")[0] not in _AXES[axis]]
            title = ", ".join([f"{one.model} on {one.dataset}", *kept])
            yield title, dict(sorted(group.items()))


def _gains(group):
    """The cells of the average by (method, variant) and place on the axis."""
    variants = dict.fromkeys(itertools.chain(*(one.variants for one in group.values())))
    for variant in variants:
        cells = {place: one.of(*variant).loc[AVERAGE] for place, one in group.items()}
        cells = {place: cell for place, cell in cells.items() if not pd.isna(cell["difference"])}
        if cells:
            yield variant, pd.DataFrame(cells).T.infer_objects()


def curve(group, axis):
    """The gain over the baseline at each place and between which it changes its sign, a `Table`."""
    columns = {}
    for variant, cells in _gains(group):
        texts = {f"{cell.Index:,}": tables.difference_text(cell) for cell in cells.itertuples()}
        texts["changes sign"] = crossing(cells["difference"])
        columns[paper.title(*variant)] = texts
    if not columns:
        return None
    frame = pd.DataFrame(columns).reindex([*(f"{place:,}" for place in group), "changes sign"])
    baseline = paper.title(next(iter(group.values())).baseline).replace("No d", "no d")
    note = f"Average accuracy over the sub-models minus that of {baseline}, in points, paired by "
    note += f"seed [{CONFIDENCE:.0%} confidence interval, Student's t]."
    return tables.Table(frame.fillna("").rename_axis(axis.replace("_", " ")), note)


def crossing(gains):
    """Between which places a gain, a series by place, changes its sign, as text."""
    pairs = itertools.pairwise(gains.items())
    found = [f"{a:,} to {b:,}" for (a, one), (b, other) in pairs if (one > 0) != (other > 0)]
    return ", ".join(found) or ("never, always ahead" if gains.iloc[0] > 0 else "never ahead")


def draw_curve(group, axis, title):
    """Figure of the gain over the baseline, a line per method; bars are the interval."""
    figure, (axes,) = figures.figure(1, title)
    lines = list(_gains(group))
    for number, (variant, cells) in enumerate(lines):
        style = figures.style(number, len(lines), paper.title(*variant))
        half = cells["confidence_high"] - cells["difference"]
        axes.errorbar(cells.index, cells["difference"], half, capsize=2, **style)
    axes.axhline(0, color="0.4", linewidth=1)
    axes.set(xlabel=axis.replace("_", " "), ylabel="gain in average test accuracy (points)")
    figures.log_scale(axes)
    axes.legend(fontsize="small")
    return figure


def ranking(comparison):
    """The methods by their average accuracy, best first; None if no teachers are by number."""
    if not any(teachers.is_text(method) for method, _ in comparison.variants):
        return None
    cells = comparison.cells[comparison.cells["submodel"] == AVERAGE]
    cells = cells.sort_values("accuracy", ascending=False, kind="stable")
    rows = {
        paper.title(cell.method, cell.variant): {
            "average accuracy %": f"{cell.accuracy:.2f}",
            "difference": tables.difference_text(cell),
            "runs": str(cell.runs),
        }
        for cell in cells.itertuples()
    }
    note = f"Difference to {paper.title(comparison.baseline).replace('No d', 'no d')} in points, "
    note += f"paired by seed [{CONFIDENCE:.0%} confidence interval, Student's t]."
    return tables.Table(pd.DataFrame(rows).T.rename_axis("who teaches whom"), note)
