"""Draws the pictures of the page on concepts: python docs/pictures.py, from the top directory."""

import pathlib

from ipkd_tf.distillation import teachers
from ipkd_tf.output import figures
from ipkd_tf.tools.teachers import draw

IMAGES = pathlib.Path(__file__).parent / "images"
SHADES = ("#08306b", "#2b7bba", "#7db8da", "#c6dbef")  # of the largest sub-model first
LIGHT = "#f2f6fa"


def draw_exits(axes):
    """A chain of blocks with a head after each; dashed arrows: the larger ones teach."""
    box = {"boxstyle": "round,pad=0.4", "facecolor": LIGHT}
    axes.text(0, 0, "image", ha="center", va="center", bbox={"boxstyle": "round", "fc": "w"})
    for i in range(1, 5):
        head = {**box, "facecolor": SHADES[4 - i], "edgecolor": "none"}
        colour = "w" if i > 2 else "k"
        axes.text(i, 0, f"block {i}", ha="center", va="center", bbox=box)
        axes.text(i, 1, f"exit_{i}", ha="center", va="center", bbox=head, color=colour)
        for start, end in (((i - 0.66, 0), (i - 0.37, 0)), ((i, 0.18), (i, 0.82))):
            axes.annotate("", end, start, arrowprops={"arrowstyle": "->"})
        for student in range(1, i):
            curve = f"arc3,rad={0.25 + 0.06 * (i - student)}"
            arrow = {"arrowstyle": "->", "linestyle": "--", "connectionstyle": curve, "color": "C1"}
            axes.annotate("", (student + 0.05, 1.16), (i - 0.05, 1.16), arrowprops=arrow)
    axes.text(2.5, 2.35, "larger ones teach smaller ones", ha="center", color="C1")
    axes.set(title="exits: a sub-model ends early", xlim=(-0.5, 4.6), ylim=(-0.5, 2.6))


def draw_widths(axes):
    """Layers as nested bars: a narrow network is the leading channels of a wide one."""
    for layer, height in enumerate((1.0, 1.5, 2.0)):
        for shade, width in zip(SHADES, (1, 0.75, 0.5, 0.25), strict=True):
            axes.barh(0, 0.5, height * width, left=layer, align="edge", color=shade)
            if layer == 2:
                axes.text(2.6, height * width - 0.25, f"width_{width}", va="center")
        axes.text(layer + 0.25, -0.2, f"layer {layer + 1}", ha="center", va="center")
        if layer:
            arrow = {"arrowstyle": "->"}
            axes.annotate("", (layer - 0.05, 0.12), (layer - 0.45, 0.12), arrowprops=arrow)
    axes.set(title="widths: a sub-model is narrower", xlim=(-0.2, 3.5), ylim=(-0.5, 2.6))


def main(directory=IMAGES):
    figure, panels = figures.figure(2, "One network, four sub-models", size=(5.5, 3.6))
    for axes, draw_one in zip(panels, (draw_exits, draw_widths), strict=True):
        draw_one(axes)
        axes.axis("off")
    figures.save(figure, directory / "flexible_network.png")

    title = "Who teaches whom, four sub-models"
    figure, panels = figures.figure((2, 3), title, size=(3, 3))
    for axes, method in zip(panels, [*teachers.METHODS, "0:1+2,1:3,2:t1"], strict=True):
        outside = int(method == "kd" or "t1" in method)
        weights = teachers.from_spec(method, 4, outside)
        draw(axes, weights, [*"0123", "t1"][: 4 + outside])
        axes.set_title(figures.plain(method))
    figures.save(figure, directory / "teacher_matrices.png")


if __name__ == "__main__":
    main()
