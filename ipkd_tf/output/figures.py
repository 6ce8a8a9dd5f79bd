"""Figures that look alike, readable in grey and by the colour-blind."""

from ipkd_tf.output import files

MARKERS = "osD^vP*X<>hd"
LINES = ("-", "--", "-.", ":")


def figure(panels, title, sharey=False):
    """A figure of panels side by side, each with a grid; returns (figure, array of axes)."""
    # Without pyplot: no display is needed and no figure stays open.
    from matplotlib.figure import Figure

    whole = Figure(figsize=(6 * panels, 4.5), layout="constrained")
    whole.suptitle(title)
    axes = whole.subplots(1, panels, squeeze=False, sharey=sharey)[0]
    for one in axes:
        one.grid(color="0.9")
    return whole, axes


def style(number, count):
    """Keywords of `Axes.plot` for a line of several: lightness, marker and dashes tell it apart."""
    from matplotlib import colormaps

    # cividis grows steadily in lightness and looks alike to all; its pale end is left out.
    return {
        "color": colormaps["cividis"](0.85 * number / max(1, count - 1)),
        "marker": MARKERS[number % len(MARKERS)],
        "linestyle": LINES[number % len(LINES)],
        "linewidth": 1.2,
        "markersize": 5,
    }


def save(figure, path):
    """Writes a figure to a file of which the ending tells the format, whole or not at all."""
    with files.replacing(path) as aside:
        figure.savefig(aside, dpi=150)
