"""The demo: what it says of an image, and its page in a real browser."""

import importlib.util
import os
import pathlib
import re
import shutil
import tempfile
from unittest import mock

import numpy as np
import pytest
from absl.testing import parameterized
from PIL import Image

from ipkd_tf import data
from ipkd_tf.deployment.early_exit import thresholds
from ipkd_tf.models import trained
from ipkd_tf.tools import demo
from ipkd_tf.training import finished_run
from tests.tools.test_programs import run_program

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PACKAGES = all(map(importlib.util.find_spec, ("gradio", "playwright")))
ANSWERS = [
    {"name": n, "class": c, "confidence": p, "multiply_adds": m, "milliseconds": t, "accuracy": a}
    for n, c, p, m, t, a in (
        ("exit_1", "3", 0.5, 1_100_000, 0.4, 0.98),
        ("exit_2", "8", 0.8, 1_900_000, 0.7, 0.97),
        ("exit_3", "8", 0.7, 2_900_000, 1.1, 0.99),
        ("exit_4", "8", 0.9, 3_700_000, 1.6, 0.985),
    )
]


class DemoTest(parameterized.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.run_of_digits = finished_run.open_run(trained.find("msdnet_small_digits"))
        cls.demo = demo.Demo(cls.run_of_digits)

    def test_answers_are_those_of_the_network(self):
        digits = data.read("digits", image_size=16).test
        pixels = digits.images([5])
        answers = self.demo.answer(Image.fromarray(pixels[0]))
        for one, logits in zip(answers, self.run_of_digits.network(pixels), strict=True):
            exponentials = np.exp(logits[0] - np.max(logits))
            self.assertAlmostEqual(
                one["confidence"], float(exponentials.max() / exponentials.sum()), places=4
            )
            self.assertEqual(one["class"], str(digits.labels[5]))
            self.assertGreater(one["milliseconds"], 0)
        self.assertEqual([one["multiply_adds"] for one in answers][0], 1_100_416)

    @parameterized.parameters(
        (demo.LIMITS[0], 75, 1, "is at least 75 % sure"),
        (demo.LIMITS[0], 95, 3, "is asked last"),
        (demo.LIMITS[1], 3, 2, "is the most accurate within the budget"),
        (demo.LIMITS[1], 2, 0, "is the most accurate within the budget"),
        (demo.LIMITS[1], 0.5, 0, "is nearest to the budget"),
        (demo.LIMITS[2], 1.6, 2, "2.90 million multiply-adds, 1.10 ms"),
    )
    def test_the_limit_chooses(self, limit, value, index, words):
        chosen, sentence = self.demo.choose(ANSWERS, limit, value)
        self.assertEqual(chosen, index)
        self.assertIn(words, sentence)
        self.assertIn(ANSWERS[index]["name"], sentence)

    def test_asking_costs(self):
        # In vain at two exits: their classifiers are paid for, and the answer is the third one's.
        straight, asking = np.array([4e6, 5e6, 6e6, 7e6]), np.array([1e5, 2e5, 4e5])
        with mock.patch.object(self.demo, "_costs", thresholds.Costs(straight, asking)):
            _, first = self.demo.choose(ANSWERS, demo.LIMITS[0], 50)
            index, last = self.demo.choose(ANSWERS, demo.LIMITS[0], 90)
        self.assertIn("at 4.00 million multiply-adds with those asked", first)
        self.assertEqual(index, 3)
        self.assertIn("at 7.70 million multiply-adds with those asked", last)

    def test_the_slider_reaches_every_submodel(self):
        for limit in demo.LIMITS:
            least, greatest, start = self.demo.range_of(limit, ANSWERS)
            self.assertTrue(least < start < greatest)
            self.assertEqual(self.demo.choose(ANSWERS, limit, least)[0], 0)
            if limit != demo.LIMITS[0]:
                self.assertEqual(self.demo.choose(ANSWERS, limit, greatest)[0], 2)

    def test_without_gradio(self):
        with mock.patch("importlib.util.find_spec", return_value=None):
            status, _, err = run_program(demo, "--preset=msdnet_small_digits")
        self.assertEqual(status, 1)
        self.assertIn("pip install 'ipkd_tf[demo]'", err)


@pytest.mark.slow
@pytest.mark.skipif(not (CHROMIUM and PACKAGES), reason="needs chromium, gradio and playwright")
class PageTest(parameterized.TestCase):
    def test_a_person_tries_it(self):
        from playwright.sync_api import expect, sync_playwright

        served = demo.Demo(finished_run.open_run(trained.find("msdnet_small_digits")))
        page = served.page()
        launching = served.launching("127.0.0.1", None)
        _, address, _ = page.launch(**launching, prevent_thread_lock=True)
        self.addCleanup(page.close)
        directory = pathlib.Path(tempfile.mkdtemp())
        digits = data.read("digits", image_size=16).test
        Image.fromarray(digits.images([5])[0]).save(directory / "digit.png")
        requested, failed = [], []
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            tab = browser.new_page(viewport={"width": 1280, "height": 900})
            tab.on("request", lambda request: requested.append(request.url))
            tab.on("pageerror", lambda error: failed.append(error))
            tab.goto(address)
            tab.locator("input[type=file]").first.set_input_files(directory / "digit.png")
            expect(tab.get_by_text("sure:")).to_be_visible(timeout=60_000)
            expect(tab.get_by_text("exit_4").first).to_be_visible()
            tab.get_by_label(demo.LIMITS[1]).check()
            expect(tab.get_by_text("within the budget")).to_be_visible(timeout=30_000)
            expect(tab.get_by_role("slider")).to_have_value(re.compile(r"2\.\d"))
            tab.get_by_role("tab", name="Draw").click()
            tab.get_by_role("button", name="Brush").click()
            box = tab.locator("canvas").last.bounding_box()
            x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
            angles = np.linspace(0, 2 * np.pi, 40)
            for number, angle in enumerate(angles):  # a zero
                tab.mouse.move(x + 55 * np.sin(angle), y + 90 * np.cos(angle))
                if not number:
                    tab.mouse.down()
            tab.mouse.up()
            expect(tab.locator("h3", has_text="0")).to_be_visible(timeout=60_000)
            tab.get_by_label(demo.LIMITS[0]).check()
            expect(tab.get_by_text("% sure:")).to_be_visible(timeout=30_000)
            tab.wait_for_timeout(1500)  # for what fades
            tab.screenshot(path=os.environ.get("SCREENSHOT", directory / "demo.png"))
            browser.close()
        self.assertEmpty(failed)
        elsewhere = [url for url in requested if not url.startswith((address, "data:", "blob:"))]
        self.assertEmpty(elsewhere)
