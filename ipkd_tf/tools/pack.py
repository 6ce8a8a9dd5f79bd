"""Packs a finished run as a trained network of the package, to be found by name.

  python -m ipkd_tf pack --run=runs/quickstart/seed0 --name=msdnet_small_digits --licence=Apache-2.0

Writes best.keras, result.json and a card, README.md, to ipkd_tf/models/trained/NAME.
"""

import dataclasses
import pathlib
import re
import textwrap
import zipfile

from absl import flags

import ipkd_tf
from ipkd_tf.output.checks import check
from ipkd_tf.tools import command

FLAGS = flags.FLAGS
_LARGEST = 2_000_000
_OF_THIS_MACHINE = ("workdir", "data_dir", "name", "tensorboard", "checkpoint_minutes", "memory")


def define_flags(values=flags.FLAGS):
    define = command.definer(values)
    define("run", str, "Directory of a finished run.", required=True)
    define("name", str, "Of the trained network, such as msdnet_small_digits.", required=True)
    define("licence", "Apache-2.0", "Of the weights.")
    define("data_dir", "", "Where the data set is now; empty: where the run read it.")
    define("output", "", "Directory; empty: that of trained networks in the package.")


def main():
    """Writes the directory and prints its card."""
    expected = "small letters, digits, points and underscores"
    check(re.fullmatch(r"[a-z][a-z0-9_.]*", FLAGS.name), expected, name=FLAGS.name)
    command.start_tensorflow()
    from ipkd_tf.models import trained
    from ipkd_tf.output import files
    from ipkd_tf.training import finished_run

    run = finished_run.open_run(FLAGS.run, data_dir=FLAGS.data_dir)
    target = pathlib.Path(FLAGS.output or trained.DIRECTORY, FLAGS.name)
    defaults = {name: "" for name in ("workdir", "data_dir", "memory")}
    result = {key: value for key, value in run.result.items() if key not in ("last", "last_epoch")}
    result["settings"] = {**result["settings"], **defaults, "name": FLAGS.name}
    result |= {"name": FLAGS.name, "class_names": list(run.splits.dataset.class_names)}
    with files.replacing(target) as aside:
        aside.mkdir()
        network = aside / "best.keras"
        _compress(run.directory / "best.keras", network)
        expected = f"at most {_LARGEST:,} bytes, which every copy of the package brings along"
        check(network.stat().st_size <= _LARGEST, expected, bytes=network.stat().st_size)
        result |= {"file": files.sizes_and_digests(network)["best.keras"]}
        files.write_json(aside / "result.json", files.rounded(result))
        card = _card(run, result)
        files.write_text(aside / "README.md", card)
    print(f"{card}\n{target}")


def _compress(source, target):
    """Copies a .keras file, which Keras does not compress; a third of a small one is padding."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for member in old.infolist():
            new.writestr(member, old.read(member), zipfile.ZIP_DEFLATED, 9)


def _card(run, result):
    """How the network was trained and what it reaches, as Markdown."""
    from ipkd_tf.output import tables
    from ipkd_tf.training import summary

    columns = [("sub-model", "name", "{}"), ("accuracy %", "accuracy", tables.percent)]
    columns += summary.cost_columns(result["best"][0])
    settings, seed = result["settings"], result["seed"]
    given = [
        f"--{field.name}={settings[field.name]}"
        for field in dataclasses.fields(run.experiment)
        if field.name in settings and field.name not in _OF_THIS_MACHINE
        if settings[field.name] != field.default
    ]
    command_line = textwrap.fill(
        " ".join(given), 90, break_on_hyphens=False, break_long_words=False
    )
    command_line = command_line.replace("\n", " \\\n    ")
    examples = result["examples"]
    counts = ", ".join(f"{examples[name]:,} {name}" for name in ("train", "validation", "test"))
    training = f"in {result['seconds']['training']:.0f} seconds"
    return f"""# {FLAGS.name}

{settings["model"]}, trained by {settings["method"]} on {settings["dataset"]} ({counts} images)
with ipkd_tf {ipkd_tf.__version__} {training}. One run, seed {seed}, epoch {result["best_epoch"]} of
{settings["epochs"]}: the best by its average accuracy on the validation images.

```sh
python -m ipkd_tf train {command_line}
```

On the test images:

{tables.text(result["best"], columns, "pipe")}

Licence of the weights: {FLAGS.licence}. SHA-256 of best.keras ({result["file"]["bytes"]:,} bytes):
`{result["file"]["sha256"]}`.
"""


if __name__ == "__main__":
    command.start(define_flags, main)
