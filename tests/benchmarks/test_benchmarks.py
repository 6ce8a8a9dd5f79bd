"""The benchmarks: how they take turns, what they count, and what the committed results say."""

import dataclasses
import importlib
import json
import pathlib
import subprocess
import sys

import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from benchmarks import bfloat16, case, check, forward, growth, peer, training, workload

ROOT = pathlib.Path(__file__).parents[2]
TINY = "tests.models.two_exits:TwoExits"
SETTINGS = case.Settings(
    models=(TINY,), methods=("none", "ipkd"), batch_size=4, image_size=8, repeats=2, steps=1
)
SCRIPTS = ("training", "forward", "peer", "bfloat16", "growth", "early_exit", "families")


class WorkloadTest(tf.test.TestCase, parameterized.TestCase):
    def test_ratio_compares_within_a_round(self):
        # The machine was 10 times slower in the last round; of the medians the ratio were 4 / 1.
        self.assertEqual(case.median_ratio([2, 4, 30], [1, 1, 10]), 3)

    def test_a_step_trains(self):
        one = SETTINGS.workload(TINY)
        distiller = one.distiller()
        before = [v.numpy() for v in distiller.trainable_variables]
        self.assertGreater(one.step(distiller)(), 0)
        for old, new in zip(before, distiller.trainable_variables, strict=True):
            self.assertNotAllEqual(old, new)

    def test_an_outside_teacher_is_there_for_those_who_ask(self):
        settings = dataclasses.replace(SETTINGS, teacher=TINY)
        taught = settings.workload(TINY, "kd").distiller()
        self.assertAllEqual(taught.teachers, [[0, 0, 1]] * 2)
        self.assertGreater(settings.workload(TINY, "kd").step(taught)(), 0)
        self.assertEqual(settings.workload(TINY, "none").distiller().teachers.shape, (2, 2))

    def test_precision_is_the_networks_and_does_not_stay(self):
        distiller = SETTINGS.workload(TINY, precision="mixed_float16").distiller()
        self.assertEqual(distiller.network.get_layer("conv_1").compute_dtype, "float16")
        self.assertIsInstance(distiller.optimizer, keras.optimizers.LossScaleOptimizer)
        self.assertEqual(keras.config.dtype_policy().name, "float32")

    def test_loss_alone_gives_a_gradient_to_every_submodel(self):
        gradients = SETTINGS.workload(TINY).loss_step(submodels=3)()
        self.assertEqual([g.shape for g in gradients], [(4, 10)] * 3)
        for gradient in gradients:
            self.assertNotAllEqual(gradient, np.zeros([4, 10]))

    def test_batch_sizes_follow_the_models(self):
        sizes = [case.Settings().workload(model).batch_size for model in case.Settings().models]
        self.assertEqual(sizes, [64, 128])

    def test_a_process_of_its_own(self):
        ours = np.ones(1_500_000_000, np.uint8)
        one = workload.Workload("msdnet_small", image_size=16, arguments={"blocks": 1})
        result = workload.run(dataclasses.replace(one, batch_size=4), steps=2, loss=True)
        self.assertGreater(workload.peak_mb(), ours.nbytes / 1e6)
        # The kernel starts a child's getrusage() peak at that of its parent.
        self.assertLess(result["peak_mb"], ours.nbytes / 1e6)
        self.assertBetween(result["start_mb"], 100, result["peak_mb"])
        self.assertGreater(result["start_s"], 0.5)  # TensorFlow's start counts
        self.assertGreater(result["loss_share"], 0)
        self.assertAllClose(result["images_per_s"] * result["step_ms"], 4e3)

    @parameterized.named_parameters(
        ("fails", "1 / 0", "exit status 1: ZeroDivisionError: division by zero"),
        ("is_silent", "", "IndexError|list index"),
        ("prints_no_json", "print('done')", "Expecting value"),
        ("prints_no_object", "print(3)", "not iterable"),
    )
    def test_a_program_that(self, code, reason):
        with self.assertRaisesRegex(ChildProcessError, f"one JSON object.*({reason}).*Received"):
            workload.last_json_line([sys.executable, "-c", code])
        with self.assertRaisesRegex(ChildProcessError, "No such file.*Received.*'/no/such'"):
            workload.last_json_line(["/no/such"])


def _run(rates):
    """Stands in for `workload.run`: gives these images per second, one after another."""

    def run(one, steps, threads, loss=False):
        del steps, threads, loss
        rate = next(rates)
        return {"images_per_s": rate, "step_ms": 4e3 / rate, "parameters": 7}

    return run


class ScriptsTest(tf.test.TestCase, parameterized.TestCase):
    def test_training_against_none_is_the_median_of_ratios_within_rounds(self):
        # none, ipkd, none, ipkd: the machine became twice as slow.
        none, ipkd = training.measure(SETTINGS, _run(iter([100.0, 50.0, 50.0, 30.0])))
        self.assertEqual((none["ratio"], none["images_per_s"]), (1, 75))
        self.assertAllClose(ipkd["ratio"], (0.5 + 0.6) / 2)

    def test_forward_times_every_submodel_on_one_image_and_on_a_batch(self):
        rows = forward.measure(SETTINGS)
        timed = [(row["submodel"], row["batch_size"]) for row in rows]
        self.assertEqual(timed, [("early", 1), ("early", 4), ("late", 1), ("late", 4)])
        self.assertEqual([row["ratio"] for row in rows[2:]], [1, 1])
        for row in rows:
            self.assertAllClose(row["ms"] * row["images_per_s"], 1e3 * row["batch_size"])

    def peer_settings(self, parameters=7):
        """Settings with a stand-in for the peer's Python, which writes down how it was called."""
        self.log = self.create_tempfile().full_path
        answer = json.dumps({"images_per_s": 50.0, "params": parameters, "peer": "torch"})
        script = f"#!/bin/sh\necho \"$@\" >> {self.log}\necho '{answer}'\n"
        python = self.create_tempfile("python", content=script)
        pathlib.Path(python.full_path).chmod(0o755)
        return dataclasses.replace(SETTINGS, methods=("ipkd",), python=python.full_path)

    def test_both_sides_take_turns(self):
        (row,) = peer.measure(self.peer_settings(), _run(iter([100.0, 200.0])))
        called = pathlib.Path(self.log).read_text().splitlines()
        self.assertLen(called, 2)
        expected = f"torch_step.py --model={TINY} --method=ipkd --batch_size=4 "
        expected += "--precision=float32 --steps=1"
        self.assertEndsWith(called[0], expected)
        identity = {"model": TINY, "method": "ipkd", "batch_size": 4}
        rates = {"images_per_s": 150.0, "peer_images_per_s": 50.0, "ratio": 3.0}
        self.assertEqual(row, identity | rates)

    def test_both_precisions_of_both_sides_take_turns(self):
        asked = []

        def run(one, steps, threads):
            asked.append(one.precision)
            return {"images_per_s": 200.0 if one.precision == "mixed_bfloat16" else 160.0}

        (row,) = bfloat16.measure(self.peer_settings(), run)
        self.assertEqual(asked, ["float32", "mixed_bfloat16"] * 2)
        called = pathlib.Path(self.log).read_text().splitlines()
        of = [line.partition("--precision=")[2].split()[0] for line in called]
        self.assertEqual(of, ["float32", "bfloat16"] * 2)
        self.assertEqual((row["ratio"], row["peer_ratio"], row["narrow_peer_ratio"]), (1.25, 4, 4))
        self.assertEqual((row["images_per_s"], row["narrow_images_per_s"]), (160, 200))

    def test_a_peer_with_another_network(self):
        with self.assertRaisesRegex(ValueError, "same network.*7 and 8 parameters"):
            peer.measure(self.peer_settings(8), _run(iter([1.0, 1.0])))

    def test_powers_of_known_laws(self):
        def run(one, steps, threads, loss):
            del steps, threads
            size = one.batch_size * one.image_size**2 * one.num_classes**0.5
            size *= one.arguments.get("blocks", 1) ** 1.5
            peak = 600.0 + size**0.5
            return {"step_ms": size, "loss_share": 0.1, "start_mb": 600.0, "peak_mb": peak}

        rows = growth.measure(case.Settings(), run)
        expected = {"batch": 1, "classes": 0.5, "image side": 2, "exits": 1.5, "widths": 0}
        last = [row for row in rows if "step_power" in row]
        self.assertLen(last, 8)  # exits and widths are of one family each
        for row in last:
            self.assertAllClose(row["step_power"], expected[row["quantity"]], atol=1e-6)
            self.assertAllClose(row["memory_power"], expected[row["quantity"]] / 2, atol=1e-6)

    def test_what_a_family_counts_is_what_the_curve_says(self):
        settings = case.Settings(image_size=16)
        counted = {
            "leaves": lambda network: 2 ** (len(network.outputs) - 1),
            "sub-models drawn": lambda network: network.drawn,
            "precisions": lambda network: len(network.outputs),
            "genes": lambda network: len(network.space()),
        }
        for quantity, names, values, changes in growth.CURVES:
            if quantity in counted:
                network = settings.workload(names[-1], **changes(values[-1])).network()
                self.assertEqual(counted.pop(quantity)(network), values[-1])
        self.assertEmpty(counted)

    @parameterized.parameters(
        *SCRIPTS, "check", "sandwich", "photographs", "recalibration", "search"
    )
    def test_commands_start(self, name):
        command = [sys.executable, "-m", f"benchmarks.{name}", "--help"]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn(f"python -m benchmarks.{name}", done.stdout)


class CheckTest(tf.test.TestCase):
    def test_ten_percent_less_is_worse(self):
        before = [{"model": "m", "method": name, "ratio": 2.0} for name in "abc"]
        now = [{"model": "m", "method": "a", "ratio": 1.79}, {"model": "m", "method": "b"}]
        now += [{"model": "m", "method": "c", "ratio": 1.81}, {"model": "n", "method": "a"}]
        rows = check.compare("peer", before, now)
        self.assertEqual([row["what"] for row in rows], ["m a", "m c"])
        self.assertEqual([row["verdict"] for row in rows], ["worse", ""])


class ResultsTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(*SCRIPTS)
    def test_tables_of_the_documents_are_the_results(self, name):
        columns = importlib.import_module(f"benchmarks.{name}").COLUMNS
        rows = json.loads(case.RESULTS.read_text())[name]["rows"]
        paths = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
        texts = [path.read_text() for path in paths]
        marked = [text for text in texts if f"<!-- benchmark: {name} -->" in text]
        self.assertNotEmpty(marked)
        for text in marked:
            self.assertEqual(case.fill(text, name, rows, columns), text)

    def test_filling_changes_only_what_stands_between_the_marks(self):
        rows, columns = [{"model": "m", "ratio": 1.5}], [("a", "model", "{}")]
        text = "x\n<!-- benchmark: peer -->\nold\n<!-- end -->\ny <!-- end -->"
        expected = "x\n<!-- benchmark: peer -->\n| a   |\n|:----|\n| m   |\n<!-- end -->\n"
        filled = case.fill(text, "peer", rows, columns)
        self.assertEqual(filled, expected + "y <!-- end -->")
        open_mark = "<!-- benchmark: peer -->\nmine\n<!-- report: a b -->\n<!-- end -->"
        self.assertEqual(case.fill(open_mark, "peer", rows, columns), open_mark)
