"""The committed results: tables in the documents are what runs/results.csv gives."""

import pathlib

from absl.testing import absltest, parameterized

from ipkd_tf import reports
from ipkd_tf.reports import evidence, tables

ROOT = pathlib.Path(__file__).parent.parent
RESULTS = ROOT / "runs" / "results.csv"
COMMAND = "python -m ipkd_tf report runs/results.csv --readme={}"


def marked_documents():
    """Text of each document that has marks for the report to fill, by path."""
    paths = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    texts = {path: path.read_text(encoding="utf-8") for path in paths}
    return {path: text for path, text in texts.items() if "<!-- report: " in text}


class ResultsTest(parameterized.TestCase):
    def test_results_and_marks_come_together(self):
        self.assertEqual(RESULTS.exists(), ROOT / "docs" / "results.md" in marked_documents())

    def test_tables_in_documents_are_the_results(self):
        for path, text in marked_documents().items():
            rows = reports.read_csv(RESULTS)
            comparisons = reports.compare(reports.label_variants(rows[rows["which"] == "best"]))
            with self.subTest(path.name):
                command = COMMAND.format(path.relative_to(ROOT))
                self.assertEqual(text, reports.fill(text, comparisons), f"run {command}")

    @parameterized.parameters(("main", "alone_msdnet", "kd_full"), ("chain",))
    def test_tables_of_the_evidence_are_its_scores(self, *studies):
        text = (ROOT / "docs/results.md").read_text(encoding="utf-8")
        rows, _ = reports.gather(ROOT / f"runs/evidence/{study}.csv" for study in studies)
        rows = reports.label_variants(rows[rows["which"] == "last"])
        comparisons = reports.compare(rows)
        if ahead := evidence.count_ahead(comparisons):
            self.assertIn(f"\n{ahead.markdown()}\n", text)
        for comparison in comparisons:
            if len(comparison.variants) == 1:  # in a sentence
                [cell] = comparison.cells[comparison.cells["submodel"] == "average"].itertuples()
                self.assertIn(f"{cell.accuracy:.2f} ± {cell.standard_deviation:.2f} %", text)
                continue
            made = [tables.accuracies(comparison), tables.differences(comparison)]
            if "chain" not in studies:
                made += [tables.losses(comparison), tables.training(comparison)]
            for table in filter(None, made):
                self.assertIn(f"\n{table.markdown()}\n", text)

    def test_sentence_of_the_readme(self):
        rows = reports.read_csv(ROOT / "runs/evidence/main.csv")
        rows = reports.label_variants(rows[rows["which"] == "last"])
        text = (ROOT / "README.md").read_text(encoding="utf-8")
        expected = {
            "msdnet_small": {
                "average": "by {} points [95 % interval {}, {}] on average",
                "exit_1": "{} [{}, {}] at the first",
                "exit_4": "{} [{}, {}] at the last",
            },
            "slimmable_mobilenet_v1_small": {"average": "slimmable network by {} [{}, {}]"},
        }
        for comparison in reports.compare(rows):
            cells = comparison.cells[comparison.cells["method"] == "ipkd_ta_m"]
            cells = cells.set_index("submodel")
            for name, sentence in expected[comparison.model].items():
                cell = cells.loc[name]
                scores = (cell["difference"], cell["confidence_low"], cell["confidence_high"])
                self.assertIn(sentence.format(*(f"{score:.1f}" for score in scores)), text)
                self.assertIn(f"n = {cell['pairs']:.0f} seeds", text)

    def test_what_labels_at_full_weight_do(self):
        text = (ROOT / "docs/results.md").read_text(encoding="utf-8")
        rows = reports.read_csv(ROOT / "runs/evidence/levers.csv")
        rows = rows[rows["which"] == "last"]
        keys = ["model", "train_examples", "epochs", "method", "label_weight", "seed"]
        runs = rows.groupby(keys, as_index=False)["accuracy"].mean()
        runs["accuracy"] *= 100
        for _, setting in runs.groupby(["model", "train_examples", "epochs"]):
            first = setting.iloc[0]
            cells = [f"{first['train_examples']:,}, {first['epochs']}"]
            for method, weight in (("none", 0), ("ipkd_ta_m", "remaining"), ("ipkd_ta_m", "full")):
                chosen = setting[setting["method"] == method]
                chosen = chosen[chosen["label_weight"] == weight] if weight else chosen
                scores = chosen["accuracy"]
                spread = f" ± {scores.std():.1f}" if len(scores) > 2 else ""
                cells.append(f"{scores.mean():.1f}{spread}")
            self.assertIn(f"| {' | '.join([*cells, str(len(scores))])} |\n", text)


if __name__ == "__main__":
    absltest.main()
