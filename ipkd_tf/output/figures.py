"""Figures that look alike, readable in grey and by the colour-blind."""

import base64
import io
import pathlib

from ipkd_tf.output import files

MARKERS = "osD^vP*X<>hd"
LINES = ("-", "--", "-.", ":")


def figure(panels, title, size=(6, 4.5), **layout):
    """A figure of panels side by side, or (rows, columns) of them, with grids; and their axes."""
    # Without pyplot: no display is needed and no figure stays open.
    from matplotlib.figure import Figure

    rows, columns = panels if isinstance(panels, tuple) else (1, panels)
    whole = Figure(figsize=(size[0] * columns, size[1] * rows), layout="constrained")
    whole.suptitle(plain(title))
    axes = whole.subplots(rows, columns, squeeze=False, **layout).ravel()
    for one in axes:
        one.grid(color="0.9")
    return whole, axes


def plain(text):
    """A name as matplotlib shows it: `$` would begin a formula, and fail if it is none."""
    return text.replace("$", r"\$")


def style(number, count, label=None):
    """Keywords of `Axes.plot` for a line of several, which become darker one by one."""
    from matplotlib import colormaps

    # cividis grows steadily in lightness and looks alike to all; its pale end is left out.
    return {
        "color": colormaps["cividis"](0.75 * (1 - (number + 1) / count)),
        "marker": MARKERS[number % len(MARKERS)],
        "linestyle": LINES[(count - 1 - number) % len(LINES)],
        "linewidth": 1.2,
        "markersize": 5,
        **({} if label is None else {"label": plain(label)}),
    }


def plot_accuracy(axes, rows, *style, **keywords):
    """A line of test scores: accuracy in percent over multiply-adds in millions; its points."""
    points = [row["multiply_adds"] / 1e6 for row in rows], [100 * row["accuracy"] for row in rows]
    axes.plot(*points, *style, **keywords)
    axes.set(xlabel="multiply-adds per image (millions)", ylabel="test accuracy (%)")
    return points


def name_points(axes, names, x, y):
    """Writes names above the points of a line, with a white outline to stand out from it."""
    from matplotlib.patheffects import withStroke

    halo = [withStroke(linewidth=3, foreground="white")]
    for name, *point in zip(names, x, y, strict=True):
        place = {"textcoords": "offset points", "ha": "center", "va": "bottom"}
        axes.annotate(plain(name), point, (0, 6), fontsize="small", path_effects=halo, **place)
    axes.margins(x=0.15, y=0.15)


def log_scale(axes):
    """A logarithmic x-axis with few ticks, written as plain numbers; call it after plotting."""
    from matplotlib import ticker

    axes.set(xscale="log")
    low, high = axes.get_xlim()
    subs = (1, 1.5, 2, 3, 4, 5, 7) if high < 10 * low else (1, 2, 5) if high < 1e3 * low else (1,)
    axes.xaxis.set_major_locator(ticker.LogLocator(subs=subs))
    axes.xaxis.set_major_formatter("{x:,.10g}")
    axes.xaxis.set_minor_locator(ticker.NullLocator())


def save(figure, path):
    """Writes a figure whole or not at all, and a PDF beside a PNG; returns the paths."""
    path = pathlib.Path(path)
    paths = list(dict.fromkeys([path, path.with_suffix(".pdf")]))
    for one in paths:
        with files.replacing(one) as aside:
            figure.savefig(aside, dpi=150)
    return paths


def data_uri(figure):
    """A figure as the address of a picture that holds it, for HTML that stands alone."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
