"""The paper's Figures 1 and 2: accuracy by sub-model and by multiply-adds, a line per method."""

import numpy as np

from ipkd_tf.output import figures
from ipkd_tf.reports import paper
from ipkd_tf.reports.comparison import AVERAGE

_APART = 0.06  # Of the distance of two sub-models, so that bars do not cover each other.


def draw(comparison):
    """Accuracy by sub-model and by multiply-adds; bars are one standard deviation.

    Args:
        comparison: `Comparison`. Where it has the paper's figures, they are a third panel, on the
            same scale.

    Returns:
        A matplotlib figure, for `drawing.save`.
    """
    has_paper = comparison.cells["paper"].notna().any()
    figure, panels = figures.figure(
        2 + has_paper, f"{comparison.model} on {comparison.dataset}", sharey=True
    )
    submodels = [name for name in comparison.submodels if name != AVERAGE]
    count = len(comparison.variants)
    for number, variant in enumerate(comparison.variants):
        style = {**figures.style(number, count), "label": paper.title(*variant)}
        cells = comparison.of(*variant).loc[submodels]
        places = np.arange(len(submodels)) + _APART * (number - (count - 1) / 2)
        costs = comparison.costs(*variant).reindex(submodels) / 1e6
        _plot(panels[0], places, cells, style)
        _plot(panels[1], costs, cells, style)
        if cells["paper"].notna().any():
            panels[2].plot(places, cells["paper"], **style)
    _label(panels, submodels)
    return figure


def _plot(axes, places, cells, style):
    axes.errorbar(places, cells["accuracy"], cells["standard_deviation"], capsize=2, **style)


def _label(panels, submodels):
    panels[0].set(ylabel="test accuracy (%)")
    panels[1].set(xlabel="multiply-adds per image (millions)")
    for axes, name in zip(
        panels[::2], ("sub-model", "sub-model, the paper's figures"), strict=False
    ):
        axes.set_xticks(range(len(submodels)), submodels)
        axes.set(xlabel=name)
    panels[0].legend(fontsize="small")
