"""Choices by measured costs, and the table."""

import pathlib
import types
from unittest import mock

import numpy as np
from absl.testing import parameterized

from ipkd_tf import data
from ipkd_tf.deployment import trade_off
from ipkd_tf.training import finished_run
from tests.training.test_finished_run import write_run

ROW = {
    "name": "early",
    "format": "onnx",
    "accuracy": 0.9125,
    "multiply_adds": 3000,
    "parameters": 338,
    "bytes": 12_345,
    "milliseconds": 1.5,
    "p95_ms": 2.25,
    "largest_difference": 1.234e-6,
    "equal_decisions": 1.0,
}
LATE = {**ROW, "name": "late", "accuracy": 0.95, "bytes": 50_000, "milliseconds": 4.0}


class TradeOffTest(parameterized.TestCase):
    @parameterized.parameters(("20kB", "early"), ("50kB", "late"), ("2ms", "early"), ("1s", "late"))
    def test_bytes_and_time_are_those_of_the_measured_files(self, budget, name):
        with mock.patch.object(trade_off, "measure", return_value=[ROW, LATE]) as measure:
            conditions = trade_off.Conditions()
            row, text = trade_off.choose("the run", budget, "onnx", conditions)
        self.assertEqual(row["name"], name)
        self.assertStartsWith(text, f"The most accurate sub-model within {budget}: {name} with ")
        measure.assert_called_once_with("the run", ["onnx"], conditions)

    def test_time_comes_with_its_conditions(self):
        with mock.patch.object(trade_off, "measure", return_value=[ROW, LATE]):
            conditions = trade_off.Conditions(batch_size=8, threads=2, repeats=50)
            _, text = trade_off.choose("the run", "2ms", "onnx", conditions)
        self.assertEndsWith(
            text,
            "early with 1.5 ms (median of 50 warm calls of the onnx file; 95th percentile 2.25 ms; "
            "batch 8, threads: 2)",
        )

    def test_multiply_adds_need_no_measuring(self):
        directory = pathlib.Path(self.create_tempdir().full_path)
        write_run(directory)
        run = finished_run.open_run(directory)
        with mock.patch.object(trade_off, "measure") as measure:
            row, text = trade_off.choose(run, "4k", "onnx", trade_off.Conditions())
        self.assertEqual(row["name"], "early")
        self.assertEndsWith(text, "within 4k: early with 3k multiply-adds")
        measure.assert_not_called()

    def test_a_number_of_images_is_drawn_from_all_classes(self):
        # Sorted by class, as folders of images are read; each pixel is its image's class.
        def by_class(count, offset):
            labels = np.repeat(np.arange(10, dtype=np.int32), count)
            pixels = (labels + offset).astype(np.uint8)[:, None, None, None]
            return data.Examples(np.broadcast_to(pixels, (len(labels), 2, 2, 3)), labels)

        train, test = by_class(100, 0), by_class(4, 100)
        dataset = types.SimpleNamespace(class_names=tuple("abcdefghij"))
        splits = types.SimpleNamespace(train=train, test=test, dataset=dataset)
        run = types.SimpleNamespace(splits=splits, rows=[ROW], which="best", result={})
        settings = trade_off.export_settings(run, images=16)
        self.assertEqual(settings["images"].shape, (16, 2, 2, 3))
        self.assertEqual(set(settings["labels"]), set(range(10)))
        np.testing.assert_array_equal(settings["images"][:, 0, 0, 0], settings["labels"] + 100)
        calibration = settings["calibration_images"][:, 0, 0, 0]
        self.assertLen(calibration, trade_off.CALIBRATION_IMAGES)
        self.assertEqual(set(calibration), set(range(10)))

    def test_the_table_is_markdown_with_aligned_columns(self):
        head, rule, first, _ = trade_off.table([ROW, LATE]).splitlines()
        self.assertEqual({len(head), len(rule), len(first)}, {len(head)})
        cells = [cell.strip() for cell in first.strip("|").split("|")]
        expected = ["early", "onnx", "91.25", "3,000", "338", "12,345", "1.500", "2.250", "1.2e-06"]
        self.assertEqual(cells, expected)

    @parameterized.parameters({"images": -1}, {"batch_size": 0}, {"threads": -1}, {"repeats": 0})
    def test_conditions_that_make_no_sense(self, **setting):
        with self.assertRaisesRegex(ValueError, f"Received: {next(iter(setting))}="):
            trade_off.Conditions(**setting)
