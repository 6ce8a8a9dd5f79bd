"""Figures: styles that do not rest on colour, names as they are, ticks that do not overlap."""

import colorsys
import pathlib

from absl.testing import absltest
from PIL import Image

from ipkd_tf.output import figures


class FiguresTest(absltest.TestCase):
    def test_lines_differ_in_more_than_colour(self):
        styles = [figures.style(number, 7, "a") for number in range(7)]
        self.assertLen({(style["marker"], style["linestyle"]) for style in styles}, 7)

    def test_lines_become_steadily_darker(self):
        colors = [figures.style(number, 4, "a")["color"] for number in range(4)]
        lightness = [colorsys.rgb_to_yiq(*color[:3])[0] for color in colors]
        self.assertEqual(lightness, sorted(lightness, reverse=True))
        self.assertGreater(lightness[0] - lightness[-1], 0.3)
        self.assertLess(lightness[0], 0.65)  # seen on white
        self.assertEqual(figures.style(3, 4, "a")["linestyle"], "-")

    def test_a_saved_figure_is_whole_and_alone(self):
        directory = pathlib.Path(self.create_tempdir().full_path)
        figure, axes = figures.figure(2, "two")
        self.assertLen(axes, 2)
        written = figures.save(figure, directory / "two.png")
        self.assertEqual(written, [directory / "two.png", directory / "two.pdf"])
        with Image.open(directory / "two.png") as image:
            self.assertEqual(image.size, (1800, 675))
        self.assertEqual((directory / "two.pdf").read_bytes()[:5], b"%PDF-")
        self.assertCountEqual(directory.iterdir(), written)
        self.assertEqual(figures.save(figure, directory / "b.pdf"), [directory / "b.pdf"])

    def test_names_that_read_as_tex_are_shown_as_they_are(self):
        figure, (axes,) = figures.figure(1, "a$x_y_z$")
        axes.plot([1, 2], [1, 2], **figures.style(0, 1, "$a_b_c$"))
        figures.name_points(axes, ["$p_q_r$", "q"], [1, 2], [1, 2])
        axes.legend()
        figures.save(figure, self.create_tempdir().full_path + "/tex.png")  # not a parse error

    def test_a_name_stands_clear_of_the_line_through_its_point(self):
        figure, (axes,) = figures.figure(1, "falling and rising")
        axes.plot([1, 2, 3], [2, 1, 2], "o-")
        figures.name_points(axes, ["exit_1", "exit_2", "exit_3"], [1, 2, 3], [2, 1, 2])
        figure.draw_without_rendering()
        for name, x, y in zip(axes.texts, [1, 2, 3], [2, 1, 2], strict=True):
            left, bottom, right, _ = name.get_window_extent().extents
            across, up = axes.transData.transform((x, y))
            self.assertAlmostEqual((left + right) / 2, across, delta=1)
            self.assertGreater(bottom, up)
            self.assertNotEmpty(name.get_path_effects())  # the white outline

    def test_ticks_of_a_logarithmic_axis_do_not_overlap(self):
        for low, high in ((0.1, 0.4), (0.013, 0.9), (1, 5000)):
            figure, (axes,) = figures.figure(1, "ticks")
            axes.plot([low, high], [0, 1])
            figures.log_scale(axes)
            figure.draw_without_rendering()
            boxes = [label.get_window_extent() for label in axes.get_xticklabels(which="both")]
            low, high = axes.bbox.x0, axes.bbox.x1
            inside = sorted((b for b in boxes if low <= b.x0 <= high), key=lambda b: b.x0)
            self.assertGreaterEqual(len(inside), 2)
            for left, right in zip(inside, inside[1:], strict=False):
                self.assertLess(left.x1, right.x0)


if __name__ == "__main__":
    absltest.main()
