"""Prints and draws who teaches whom: the matrix of teacher weights of a method.

  python -m ipkd_tf teachers --method=ipkd_ta_m --n=7 --output=teachers.png
  python -m ipkd_tf teachers --method=0:1+2,1:mean,2:t1 --n=3 --outside=1

A row is a sub-model, smallest first, a column a teacher: the sub-models, then networks outside
(t1, t2, ...), then mean and ema. Each cell is the share of the teacher in the soft target.
"""

from absl import flags

from ipkd_tf.distillation import teachers
from ipkd_tf.output import figures, tables
from ipkd_tf.tools import command

FLAGS = flags.FLAGS


def define_flags(values=flags.FLAGS):
    define = command.definer(values)
    define("method", "ipkd_ta_m", f"{', '.join(teachers.METHODS)}, or a text such as 0:2,1:2+3.")
    define("n", 4, "How many sub-models.", lower_bound=1)
    define("outside", 0, "How many teachers outside; of kd at least one.", lower_bound=0)
    define("output", "", "File for the picture, such as teachers.png; empty: none.")


def draw(axes, weights, columns):
    """Draws teacher weights `[n, columns]` as squares with their shares in them."""
    axes.imshow(weights, cmap="Blues", vmin=0, vmax=2)
    for (i, j), share in (
        (place, weights[place]) for place in zip(*weights.nonzero(), strict=True)
    ):
        axes.text(j, i, f"{share:.2g}", ha="center", va="center", fontsize="small")
    axes.set_xticks(range(len(columns)), columns)
    axes.set_yticks(range(len(weights)))
    axes.set(xlabel="teacher", ylabel="taught sub-model")
    axes.grid(False)


def main():
    """Prints the table; writes the picture if --output names a file."""
    count = FLAGS.outside or int(FLAGS.method == "kd")
    weights = teachers.from_spec(FLAGS.method, FLAGS.n, count)
    outside = [f"t{number}" for number in range(1, count + 1)]
    columns = [*map(str, range(FLAGS.n)), *outside, *teachers.find_virtual(FLAGS.method)]
    rows = [
        {"i": str(i), **{name: share or None for name, share in zip(columns, row, strict=True)}}
        for i, row in enumerate(weights)
    ]
    heads = [("taught sub-model", "i", "{}"), *((name, name, "{:.3f}") for name in columns)]
    print(tables.text(rows, heads))
    if FLAGS.output:
        figure, (axes,) = figures.figure(1, f"Teacher weights of {FLAGS.method}")
        draw(axes, weights, columns)
        figures.save(figure, FLAGS.output)


if __name__ == "__main__":
    command.start(define_flags, main)
