"""The paper's Figures 1 and 2: accuracy by sub-model and by multiply-adds, a line per method."""

from ipkd_tf import drawing
from ipkd_tf.reporting import paper
from ipkd_tf.reporting.comparison import AVERAGE

_OF_PAPER = {"markerfacecolor": "white", "alpha": 0.6, "linewidth": 0.8, "markersize": 4}


def draw(comparison):
    """Two panels, accuracy by sub-model and by multiply-adds; bars are one standard deviation.

    Args:
        comparison: `Comparison`. Where it has the paper's figures, they are thin lines of hollow
            markers beside ours.

    Returns:
        A matplotlib figure, for `drawing.save`.
    """
    figure, panels = drawing.figure(2, f"{comparison.model} on {comparison.dataset}")
    submodels = [name for name in comparison.submodels if name != AVERAGE]
    for number, variant in enumerate(comparison.variants):
        style = drawing.style(number, len(comparison.variants))
        cells = comparison.of(*variant).loc[submodels]
        costs = comparison.costs(*variant).reindex(submodels) / 1e6
        for axes, places in zip(panels, (range(len(submodels)), costs), strict=True):
            _plot(axes, places, cells, style, paper.title(*variant))
    _label(panels, submodels)
    return figure


def _plot(axes, places, cells, style, label):
    spread = cells["standard_deviation"].fillna(0)
    axes.errorbar(places, cells["accuracy"], spread, capsize=2, label=label, **style)
    if cells["paper"].notna().any():
        axes.plot(places, cells["paper"], **{**style, **_OF_PAPER}, label=f"{label}, paper")


def _label(panels, submodels):
    by_submodel, by_cost = panels
    by_submodel.set_xticks(range(len(submodels)), submodels)
    by_submodel.set(xlabel="sub-model", ylabel="test accuracy (%)")
    by_cost.set(xlabel="multiply-adds per image (millions)", ylabel="test accuracy (%)")
    by_submodel.legend(fontsize="small")
