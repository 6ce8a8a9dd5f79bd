"""The paper's Figures 1 and 2: accuracy by sub-model and by multiply-adds, a line per method."""

import numpy as np

from ipkd_tf.output import figures
from ipkd_tf.reports import paper
from ipkd_tf.reports.comparison import AVERAGE

_APART = 0.06  # Of the distance of two sub-models, so that bars do not cover each other.
_STRONGEST = "ipkd_ta_m"  # The method the paper proposes has the strongest colour.


def draw(comparison):
    """Figure of accuracy by sub-model and by multiply-adds; bars are one deviation."""
    has_paper = comparison.cells["paper"].notna().any()
    figure, panels = figures.figure(2 + has_paper, comparison.title, sharey=True)
    submodels = [name for name in comparison.submodels if name != AVERAGE]
    variants = comparison.variants
    strength = sorted(variants, key=lambda variant: variant[0] == _STRONGEST)
    for number, variant in enumerate(variants):
        style = figures.style(strength.index(variant), len(variants), paper.title(*variant))
        cells = comparison.of(*variant).loc[submodels]
        places = np.arange(len(submodels)) + _APART * (number - (len(variants) - 1) / 2)
        costs = comparison.costs(*variant).reindex(submodels) / 1e6
        for axes, x in zip(panels, (places, costs), strict=False):
            axes.errorbar(x, cells["accuracy"], cells["standard_deviation"], capsize=2, **style)
        if cells["paper"].notna().any():
            panels[2].plot(places, cells["paper"], **style)
    panels[0].set(ylabel="test accuracy (%)")
    panels[1].set(xlabel="multiply-adds per image (millions)")
    labels = ("sub-model", "sub-model, the paper's figures")
    for axes, label in zip(panels[::2], labels, strict=False):
        axes.set_xticks(range(len(submodels)), map(figures.plain, submodels))
        axes.set(xlabel=label)
    panels[0].legend(fontsize="small")
    return figure
