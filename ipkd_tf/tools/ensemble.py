"""Compares an ensemble of independent networks with the sub-models of flexible networks.

  python -m ipkd_tf ensemble runs/resnet_{8,20,44}/seed0 --against=runs/msdnet/seed0

Arguments are finished runs on the same data. The cheapest network answers first, each further one
is averaged with those before. Prints both tables; ensemble.csv and ensemble.png go to --output.
"""

import pathlib

from absl import flags

from ipkd_tf.output.checks import check
from ipkd_tf.tools import command

FLAGS = flags.FLAGS


def define_flags(values=flags.FLAGS):
    define = command.definer(values)
    define("against", [], "Finished runs of flexible networks.")
    define("output", ".", "Directory.")
    define("epoch", "best", "Which network of each run.", ["best", "last"])
    define("data_dir", "", "Where the data set is now; empty: where the runs read it.")


def main(paths):
    """Evaluates the ensemble, prints the tables and writes the picture."""
    check(paths, "finished runs, such as runs/resnet_8/seed0", runs="none")
    command.start_tensorflow()
    import pandas as pd

    from ipkd_tf.output import figures, files
    from ipkd_tf.reports import ensemble
    from ipkd_tf.training import finished_run, summary

    runs, against = (
        [finished_run.open_run(path, FLAGS.epoch, FLAGS.data_dir or None) for path in some]
        for some in (paths, FLAGS.against)
    )
    ensemble.check_same_test_images([*runs, *against])
    rows = ensemble.evaluate(runs)
    tables = {"ensemble": rows, **{str(run.directory): run.rows for run in against}}
    for title, of_one in tables.items():
        print(summary.score_table(title, of_one), "\n")
    directory = pathlib.Path(FLAGS.output)
    frame = pd.concat([pd.DataFrame(of_one).assign(of=title) for title, of_one in tables.items()])
    files.write_text(directory / "ensemble.csv", frame.to_csv(index=False))
    figures.save(ensemble.draw(rows, against), directory / "ensemble.png")


if __name__ == "__main__":
    command.start(define_flags, main)
