"""Who teaches whom, as a table and as a picture."""

from absl.testing import absltest
from PIL import Image

from ipkd_tf.tools import teachers
from tests.tools.test_programs import run_program


class TeachersTest(absltest.TestCase):
    def test_the_matrix_of_four_submodels(self):
        path = self.create_tempdir().full_path + "/teachers.png"
        status, out, err = run_program(teachers, "--n=4", f"--output={path}")
        self.assertEqual((status, err), (0, ""))
        table = [line.split()[-4:] for line in out.splitlines()]
        expected = ["0 1 2 3", "- 0.333 0.333 0.333", "- - 0.500 0.500", "- - - 1.000", "- - - -"]
        self.assertEqual(table, [row.split() for row in expected])
        picture = Image.open(path)
        self.assertGreater(len(picture.getcolors(picture.width * picture.height)), 50)

    def test_outside_and_virtual_teachers_have_columns(self):
        _, out, _ = run_program(teachers, "--method=0:t1,1:mean+t2", "--n=2", "--outside=2")
        lines = [line.split() for line in out.splitlines()]
        self.assertEqual(lines[0][-5:], ["0", "1", "t1", "t2", "mean"])
        self.assertEqual(lines[1][-5:], ["-", "-", "1.000", "-", "-"])
        self.assertEqual(lines[2][-5:], ["-", "-", "-", "0.500", "0.500"])
        _, out, _ = run_program(teachers, "--method=kd", "--n=1")
        self.assertEqual(out.splitlines()[1].split(), ["0", "-", "1.000"])

    def test_a_method_that_is_none_is_one_line(self):
        status, _, err = run_program(teachers, "--method=all")
        self.assertEqual((status, err.count("\n")), (1, 1))
        self.assertIn("Received: teachers='all'", err)


if __name__ == "__main__":
    absltest.main()
