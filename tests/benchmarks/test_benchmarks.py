"""The benchmark: how it takes turns, what it counts, and what it makes of the numbers."""

import contextlib
import dataclasses
import io
import json
import subprocess
import sys
from unittest import mock

import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized

import benchmarks
from benchmarks import cases, exported, fresh, growth, peer, tables, workload
from benchmarks import command as benchmark
from ipkd_tf.deployment.export import optional

TINY = "tests.models.two_exits:TwoExits"
SETTINGS = benchmarks.Settings(
    models=(TINY,), batch_sizes=(4,), methods=("none", "ipkd"), image_size=8, repeats=3, steps=2
)


class WorkloadTest(tf.test.TestCase):
    def test_a_call_runs_steps_per_execution_steps(self):
        one = SETTINGS.workload(TINY, 4, steps_per_execution=3)
        distiller = one.distiller()
        before = [v.numpy() for v in distiller.trainable_variables]
        loss = workload.wait_for_step(workload.training_step(one, distiller)())
        self.assertEqual(int(distiller.optimizer.iterations), 3)
        self.assertGreater(loss, 0)
        for old, new in zip(before, distiller.trainable_variables, strict=True):
            self.assertNotAllEqual(old, new)

    def test_precision_is_the_networks_and_does_not_stay(self):
        distiller = SETTINGS.workload(TINY, 4, precision="mixed_float16").distiller()
        self.assertEqual(distiller.network.get_layer("conv_1").compute_dtype, "float16")
        self.assertIsInstance(distiller.optimizer, keras.optimizers.LossScaleOptimizer)
        self.assertEqual(keras.config.dtype_policy().name, "float32")

    def test_loss_alone_gives_a_gradient_to_every_submodel(self):
        _, gradients = workload.loss_step(SETTINGS.workload(TINY, 4), submodels=3)()
        self.assertEqual([g.shape for g in gradients], [(4, 10)] * 3)
        for gradient in gradients:
            self.assertNotAllEqual(gradient, tf.zeros([4, 10]))


class CasesTest(tf.test.TestCase):
    def test_training_times_every_method_against_none(self):
        rows = cases.training(SETTINGS)
        self.assertEqual([row["method"] for row in rows], ["none", "ipkd"])
        self.assertEqual(rows[0]["ratio_to_none"], 1)
        for row in rows:
            self.assertAllClose(row["images_per_s"] * row["step_ms"], 4 * 1e3)

    def test_training_ratio_is_that_of_speeds(self):
        seconds = {(TINY, "none", 4): [1.0, 2.0, 3.0], (TINY, "ipkd", 4): [2.0, 4.0, 6.0]}
        row = cases._training_row((TINY, "ipkd", 4), seconds)
        self.assertEqual((row["step_ms"], row["images_per_s"]), (4000, 1))
        self.assertEqual(row["ratio_to_none"], 0.5)

    def test_forward_times_every_submodel_on_one_image_and_on_a_batch(self):
        rows = cases.forward(SETTINGS)
        timed = [(row["submodel"], row["batch_size"]) for row in rows]
        self.assertEqual(timed, [("early", 1), ("early", 4), ("late", 1), ("late", 4)])
        self.assertTrue(all(row["ms"] > 0 for row in rows))

    def test_export_times_the_files_of_the_smallest_and_the_largest(self):
        with mock.patch.object(optional, "is_there", side_effect=lambda name: name != "onnx"):
            rows = exported.measure(SETTINGS)
        self.assertEqual([row["submodel"] for row in rows], ["early"] * 2 + ["late"] * 2)
        self.assertEqual([row["format"] for row in rows], ["saved_model", "litert"] * 2)
        for row in rows:
            self.assertBetween(row["ms"], 1e-3, 1e3)
            self.assertAlmostEqual(row["ms"] * row["images_per_s"], 1e3)

    def test_pipeline_counts_images_of_the_samples_alone(self):
        with (
            mock.patch.object(cases, "_PIPELINE_IMAGES", 12),
            mock.patch.object(cases.time, "perf_counter", side_effect=[0.0, 3.0] * 4),
        ):
            (row,) = cases.pipeline(SETTINGS)
        self.assertEqual(row, {"batch_size": 4, "image_size": 8, "images_per_s": 4.0})

    def test_pipeline_ratio_is_to_the_fastest_training_of_its_batch_size(self):
        training = [(64, 50.0), (64, 80.0), (128, 400.0)]
        rows = {
            "training": [{"batch_size": b, "images_per_s": rate} for b, rate in training],
            "pipeline": [{"batch_size": b, "images_per_s": 1600.0} for b in (64, 32)],
        }
        cases.add_pipeline_ratio(rows)
        self.assertEqual([row["times_training"] for row in rows["pipeline"]], [20, None])

    def test_unknown_case(self):
        with self.assertRaisesRegex(ValueError, "from peer, growth, start.*Received: 'speed'"):
            benchmarks.run(SETTINGS, ["speed"])

    def test_settings_are_checked(self):
        with self.assertRaisesRegex(ValueError, "one batch size for each model"):
            dataclasses.replace(SETTINGS, batch_sizes=(1, 2))
        with self.assertRaisesRegex(ValueError, "Received: steps=0"):
            dataclasses.replace(SETTINGS, steps=0)
        with self.assertRaisesRegex(ValueError, "at least one method"):
            dataclasses.replace(SETTINGS, methods=())


class FreshTest(tf.test.TestCase, parameterized.TestCase):
    def test_a_process_of_its_own(self):
        ours = np.ones(1_500_000_000, np.uint8)
        one = benchmarks.Settings().workload(
            "msdnet_small", 4, image_size=16, arguments={"blocks": 1}
        )
        result = fresh.run(one, steps=2, loss=True)
        self.assertGreater(fresh.peak_mb(), ours.nbytes / 1e6)
        # The kernel starts a child's getrusage() peak at that of its parent.
        self.assertLess(result["peak_mb"], ours.nbytes / 1e6)
        self.assertBetween(result["start_mb"], 100, result["peak_mb"])
        parts = result["import_s"] + result["build_s"] + result["first_step_s"]
        self.assertAllClose(result["total_s"], parts)
        self.assertGreater(result["import_s"], 0.5)  # TensorFlow's start counts
        self.assertGreater(result["loss_s"], 0)
        self.assertAllClose(result["images_per_s"] * result["step_s"], 4)

    @parameterized.named_parameters(
        ("fails", "1 / 0", "exit status 1: ZeroDivisionError: division by zero"),
        ("is_silent", "", "IndexError|list index"),
        ("prints_no_json", "print('done')", "Expecting value"),
        ("prints_no_object", "print(3)", "not iterable"),
    )
    def test_a_program_that(self, code, reason):
        with self.assertRaisesRegex(ChildProcessError, f"one JSON object.*({reason}).*Received"):
            fresh.json_line([sys.executable, "-c", code])

    def test_there_is_no_such_program(self):
        with self.assertRaisesRegex(ChildProcessError, "No such file.*Received.*'/no/such'"):
            fresh.json_line(["/no/such"])


class PeerTest(tf.test.TestCase):
    def setUp(self):
        super().setUp()
        self.log = self.get_temp_dir() + "/log"
        script = self.get_temp_dir() + "/peer.py"
        with open(script, "w") as file:
            file.write(
                "import json, sys\n"
                "log, *rest = sys.argv[1:]\n"
                "open(log, 'a').write(' '.join(rest) + '\\n')\n"
                "print('starting')\n"
                "print(json.dumps({'images_per_s': float(rest[-1]), 'params': 7}))\n"
            )
        template = f"{sys.executable} {script} {self.log} {{model}} {{method}} {{batch_size}}"
        self.settings = dataclasses.replace(
            SETTINGS,
            methods=("ipkd",),
            process_repeats=2,
            peer=template + " 50",
            peer_models={TINY: "theirs"},
        )

    def test_both_sides_take_turns_in_fresh_processes(self):
        rates = iter([100.0, 200.0])

        def ours(one, steps, threads):
            with open(self.log, "a") as file:
                file.write(f"ours {one.method} {one.batch_size} {steps} {threads}\n")
            return {"images_per_s": next(rates), "parameters": 7}

        (row,) = peer.measure(self.settings, ours)
        with open(self.log) as file:
            log = file.read().splitlines()
        self.assertEqual(log, ["ours ipkd 4 2 (0, 0)", "theirs ipkd 4 50"] * 2)
        self.assertEqual(
            row,
            {
                "model": TINY,
                "method": "ipkd",
                "batch_size": 4,
                "images_per_s": 150.0,
                "peer_images_per_s": 50.0,
                "ratio_to_peer": 3.0,
                "parameters": 7,
                "peer_parameters": 7,
            },
        )

    def test_a_peer_without_a_rate(self):
        settings = dataclasses.replace(self.settings, peer=self.settings.peer + " -1")
        with self.assertRaisesRegex(ValueError, "positive images_per_s. Received:.*-1"):
            peer.measure(settings, lambda *args, **kwargs: {"images_per_s": 1.0})

    def test_unusable_templates(self):
        (one,) = self.settings.workloads()
        for template in ("", "python {modle}", "python {", "python {}", "python 'x"):
            with self.assertRaisesRegex(ValueError, "placeholders from model, method.*Received"):
                peer.command(dataclasses.replace(self.settings, peer=template), one)


class GrowthTest(tf.test.TestCase):
    def test_exponents_of_known_laws(self):
        def run(one, steps, threads, loss):
            del steps, threads, loss
            size = one.batch_size * one.image_size**2 * one.num_classes**0.5
            size *= one.arguments.get("blocks", 1) ** 1.5
            return {
                "step_s": 1e-3 * size,
                "loss_s": 1e-5 * size,
                "start_mb": 600.0,
                "peak_mb": 600.0 + size**0.5,
            }

        rows = growth.measure(dataclasses.replace(SETTINGS, quick=True), run)
        found = {(row["quantity"], row["model"]): row for row in growth.exponents(rows)}
        expected = {"batch": 1, "classes": 0.5, "image side": 2, "exits": 1.5, "widths": 0}
        for (quantity, _), row in found.items():
            self.assertAllClose(row["step_exponent"], expected[quantity], atol=1e-6)
            self.assertAllClose(row["memory_exponent"], expected[quantity] / 2, atol=1e-6)
        self.assertLen(found, 8)  # exits and widths are of one family each
        self.assertAllClose([row["loss_share"] for row in rows], [0.01] * len(rows))

        path = self.get_temp_dir() + "/growth.png"
        growth.draw(rows, path)
        with open(path, "rb") as file:
            self.assertEqual(file.read(4), b"\x89PNG")
        panels = growth.figure(rows).axes
        self.assertLen(panels, 2 * len(expected))
        for panel in panels:
            self.assertEqual((panel.get_xscale(), panel.get_yscale()), ("log", "log"))

    def test_points_cover_the_ranges(self):
        def run(one, steps, threads, loss):
            del steps, threads, loss
            return {"step_s": 1.0, "loss_s": 1.0, "start_mb": 1.0, "peak_mb": 2.0}

        rows = growth.measure(SETTINGS, run)
        values = {quantity: [] for quantity in ("batch", "exits", "widths", "classes")}
        for row in rows:
            values.setdefault(row["quantity"], []).append(row["value"])
        ranges = {quantity: (min(found), max(found)) for quantity, found in values.items()}
        self.assertEqual(
            ranges,
            {
                "batch": (16, 256),
                "exits": (3, 15),
                "widths": (2, 8),
                "classes": (10, 10_000),
                "image side": (32, 128),
            },
        )

    def test_even_widths(self):
        self.assertEqual(growth.even_widths(4), [0.25, 0.5, 0.75, 1.0])


def _result(rate, **settings):
    row = {"model": "m", "method": "none", "batch_size": 4, "step_ms": 4e3 / rate}
    return {
        "machine": benchmarks.machine(SETTINGS),
        "settings": {"steps": 2, **settings},
        "rows": {"training": [{**row, "images_per_s": rate, "ratio_to_none": 1.0}]},
    }


class TablesTest(tf.test.TestCase, parameterized.TestCase):
    def test_table_states_machine_threads_versions_and_numbers(self):
        text = tables.table(_result(1234.5))
        for expected in (f"TensorFlow {tf.__version__}", "threads: automatic", "cores", "training"):
            self.assertIn(expected, text)
        self.assertRegex(text, r"\nm +none +4 +3\.24 +1,234 +1($|\n)")

    def test_baseline_ratio(self):
        result = _result(150.0)
        differences = tables.add_baseline(result, _result(100.0))
        self.assertEqual(result["rows"]["training"][0]["images_per_s_to_baseline"], 1.5)
        self.assertEqual(differences, [])
        self.assertIn("images per s to baseline", tables.table(result))

    def test_what_else_differs_from_the_baseline_is_told(self):
        earlier = _result(100.0, steps=3)
        earlier["machine"].update(cpu="another", git_commit="older", start="earlier")
        told = tables.add_baseline(_result(100.0), earlier)
        self.assertLen(told, 2)
        self.assertStartsWith(told[0], "cpu: another before")
        self.assertEqual(told[1], "steps: 3 before, 2 now")

    def test_a_case_the_baseline_lacks_has_no_ratio(self):
        result, earlier = _result(100.0), _result(100.0)
        earlier["rows"] = {}
        tables.add_baseline(result, earlier)
        self.assertNotIn("images_per_s_to_baseline", result["rows"]["training"][0])

    def test_read_gives_back_what_was_written(self):
        written = _result(2.0)
        path = self.create_tempfile("ok.json", content=json.dumps(written)).full_path
        self.assertEqual(tables.read(path), written)

    @parameterized.parameters(
        "", "[]", "3", "{}", '{"machine": {}, "settings": {}, "rows": {"x": 1}}'
    )
    def test_another_file_is_refused(self, content):
        path = self.create_tempfile("other.json", content=content).full_path
        with self.assertRaisesRegex(ValueError, "earlier benchmark.*Received: baseline=.*other"):
            tables.read(path)


class ToolTest(tf.test.TestCase):
    def test_measures_prints_writes_and_compares(self):
        output = self.get_temp_dir() + "/result.json"
        baseline = self.create_tempfile("b.json", content=json.dumps(_result(2.0))).full_path
        flags = ["--cases=pipeline", "--image_size=8", "--batch_sizes=500,500", "--repeats=1"]
        flags += [f"--output={output}", f"--baseline={baseline}", "--inter_op_threads=1"]
        command = [sys.executable, "-m", "benchmarks.command", *flags]
        done = subprocess.run(command, capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("threads: automatic within, 1 between operations", done.stdout)
        self.assertIn("inter_op_threads: 0 before, 1 now", done.stdout)
        self.assertIn("measuring pipeline\n", done.stderr)
        with open(output) as file:
            result = json.load(file)
        self.assertEqual(result["machine"]["inter_op_threads"], 1)
        self.assertGreater(result["rows"]["pipeline"][0]["images_per_s"], 0)

    def test_batch_sizes_follow_the_models(self):
        flags = ["--cases=pipeline", "--image_size=8", "--repeats=1", "--steps=1"]
        for models, sizes in (("msdnet", [64]), ("slimmable_mobilenet_v1_small,x:X", [64, 128])):
            output = self.create_tempfile().full_path
            command = [sys.executable, "-m", "benchmarks.command", *flags]
            command += [f"--models={models}", f"--output={output}"]
            subprocess.run(command, capture_output=True, check=True)
            with open(output) as file:
                rows = json.load(file)["rows"]["pipeline"]
            self.assertEqual([row["batch_size"] for row in rows], sizes)

    def test_errors_are_one_line_and_a_status(self):
        for argv, error in ((["benchmark", "x"], None), (["benchmark"], ValueError("bad. 1"))):
            errors = io.StringIO()
            with (
                mock.patch.object(benchmark, "benchmark", side_effect=error),
                contextlib.redirect_stderr(errors),
            ):
                self.assertEqual(benchmark.main(argv), 1)
            self.assertRegex(errors.getvalue(), r"\Abenchmark: .*(Received: x|bad\. 1)\n\Z")
