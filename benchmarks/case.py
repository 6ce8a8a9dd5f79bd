"""What the scripts share: settings and flags, the machine, results.json, tables in documents."""

import dataclasses
import os
import pathlib
import platform
import re
import statistics

from absl import flags

from benchmarks.workload import Workload, set_threads
from ipkd_tf.deployment import latency
from ipkd_tf.output import files, tables
from ipkd_tf.tools import command
from ipkd_tf.training import environment

ROOT = pathlib.Path(__file__).parents[1]
RESULTS = pathlib.Path(__file__).with_name("results.json")


@dataclasses.dataclass(frozen=True)
class Settings:
    """What a script runs over, and how often; each is a flag."""

    models: tuple = ("msdnet", "slimmable_mobilenet_v1")
    methods: tuple = ("none", "ipkd_ta_m")
    teacher: str = ""  # a preset, of methods that ask for an outside teacher
    batch_size: int = 0  # 0: 128 for slimmable networks, else 64
    image_size: int = 32
    precision: str = "float32"
    jit: str = "auto"
    repeats: int = 5  # rounds over all samples; medians are shown
    steps: int = 5  # in one sample
    intra_op_threads: int = 0  # within an operation; 0: TensorFlow's choice
    inter_op_threads: int = 0  # operations at a time
    python: str = "python"  # of the peer, with torch

    @property
    def threads(self):
        return self.intra_op_threads, self.inter_op_threads

    def workload(self, model, method="ipkd_ta_m", **changes):
        batch_size = self.batch_size or (128 if model.startswith("slimmable") else 64)
        settings = {
            "teacher": self.teacher,
            "image_size": self.image_size,
            "precision": self.precision,
            "jit": self.jit,
        }
        return Workload(model, method, **{"batch_size": batch_size, **settings, **changes})

    def workloads(self):
        return [self.workload(model, method) for model in self.models for method in self.methods]


def median_ratio(numbers, others):
    """The median over the rounds of number / other: the two of a round met the same machine."""
    return statistics.median(a / b for a, b in zip(numbers, others, strict=True))


def sample_in_turn(samples, repeats):
    """Takes dicts of numbers, A B C A B C ..., so that a drifting machine treats all alike."""
    return latency.interleaved(samples, repeats, warmup=0)


def medians(results):
    """The median of each number over dicts of the same numbers."""
    return {name: statistics.median(one[name] for one in results) for name in results[0]}


def start(name, measure, columns, **defaults):
    """The command of a script: measures, prints the table, keeps it with --write.

    Args:
        name: Of the script, in results.json and in the marks of the documents.
        measure: From `Settings` to rows; `ratio` is what `check` compares, larger is better.
        columns: Of its table, see `tables.text`.
        **defaults: Of its settings.
    """
    define = {tuple: flags.DEFINE_list, int: flags.DEFINE_integer, str: flags.DEFINE_string}
    fields = dataclasses.fields(Settings)

    def define_flags():
        for field in fields:
            default = defaults.get(field.name, field.default)
            default = list(default) if field.type is tuple else default
            help = {"python": "The peer's, with torch."}.get(field.name, "See docs/benchmarks.md.")
            define[field.type](field.name, default, help)
        flags.DEFINE_boolean("write", False, "Keep the rows and fill the documents' tables.")

    def main():
        given = {field.name: field.type(flags.FLAGS[field.name].value) for field in fields}
        settings = Settings(**given)
        set_threads(settings.threads)
        result = {"machine": machine(settings), "rows": measure(settings)}
        print(describe(result["machine"]), tables.text(result["rows"], columns), sep="\n")
        if flags.FLAGS.write:
            files.write_json(RESULTS, {**files.read_json(RESULTS), name: result})
            for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
                text = path.read_text(encoding="utf-8")
                filled = fill(text, name, result["rows"], columns)
                if filled != text:
                    files.write_text(path, filled)

    command.start(define_flags, main)


def fill(text, name, rows, columns):
    """Replaces what stands between `<!-- benchmark: NAME -->` and the next `<!-- end -->`."""
    mark = rf"(<!-- benchmark: {name} -->\n)(?:(?!<!--).)*(<!-- end -->)"
    table = tables.text(rows, columns, "pipe")
    return re.sub(mark, lambda match: f"{match[1]}{table}\n{match[2]}", text, flags=re.S)


def machine(settings):
    """What the numbers depend on besides the settings."""
    try:
        cpu = re.search(r"model name\s*:\s*(.*)", pathlib.Path("/proc/cpuinfo").read_text())[1]
    except (OSError, TypeError):
        cpu = platform.processor() or platform.machine()
    threads = {"intra_op_threads": settings.threads[0], "inter_op_threads": settings.threads[1]}
    return {**environment.describe(), "cpu": cpu, "cores": os.cpu_count(), **threads}


def describe(machine):
    """The machine in one line."""
    within, between = (machine[f"{kind}_op_threads"] or "all" for kind in ("intra", "inter"))
    return (
        f"{machine['cpu']}, {machine['cores']} cores, {', '.join(machine['devices'])}; threads: "
        f"{within} within, {between} between operations; TensorFlow {machine['tensorflow']}; "
        f"{machine['start']}"
    )
