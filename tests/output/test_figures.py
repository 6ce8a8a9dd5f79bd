"""Line styles that do not rest on colour."""

import colorsys
import pathlib

from absl.testing import absltest
from PIL import Image

from ipkd_tf.output import figures


class DrawingTest(absltest.TestCase):
    def test_lines_differ_in_more_than_colour(self):
        styles = [figures.style(number, 7) for number in range(7)]
        self.assertLen({(style["marker"], style["linestyle"]) for style in styles}, 7)

    def test_lines_become_steadily_lighter(self):
        colors = [figures.style(number, 4)["color"] for number in range(4)]
        lightness = [colorsys.rgb_to_yiq(*color[:3])[0] for color in colors]
        self.assertEqual(lightness, sorted(lightness))
        self.assertGreater(lightness[-1] - lightness[0], 0.4)

    def test_a_saved_figure_is_whole_and_alone(self):
        directory = pathlib.Path(self.create_tempdir().full_path)
        figure, axes = figures.figure(2, "two")
        self.assertLen(axes, 2)
        figures.save(figure, directory / "two.png")
        with Image.open(directory / "two.png") as image:
            self.assertEqual(image.size, (1800, 675))
        self.assertLen(list(directory.iterdir()), 1)


if __name__ == "__main__":
    absltest.main()
