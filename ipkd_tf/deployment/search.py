"""The most accurate sub-models within a budget, found by evolution over a network's choices."""

import dataclasses
import json
import math
import pathlib

import numpy as np

from ipkd_tf.deployment.budget import COUNTS, amount
from ipkd_tf.deployment.export.verification import predict
from ipkd_tf.models import cost, flexible
from ipkd_tf.output import counter, figures, tables
from ipkd_tf.output.checks import check, require

_POPULATION = 40
_BATCH = 500


@dataclasses.dataclass
class Candidates:
    """Measures sub-models of a network as they are asked for.

    Attributes:
        network: A flexible network.
        batches: Reiterable batches of training images, from which each candidate's statistics are
            estimated if it needs its own.
        images, labels: Held out from training: `[images, ...]` or `Examples`, and integers.
        budget: `Budget`, whose quantity is the cost that counts.
        measure_file: Function of a name to a dict with `bytes` and `milliseconds`, for such a
            budget.
    """

    network: object
    batches: object
    images: np.ndarray
    labels: np.ndarray
    budget: object
    measure_file: object = None

    def measure(self, submodel):
        """Returns name, costs and accuracy; without accuracy beyond the budget."""
        quantity, name = self.budget.quantity, submodel.name
        row = {"name": name, **cost.of_submodel(self.network, submodel)}
        if quantity in row and row[quantity] > self.budget.limit:
            return row
        if self.network.needs_recalibration:
            self.network.recalibrate(submodel, self.batches)
        if quantity not in row:
            row |= self.measure_file(name)
        if row[quantity] <= self.budget.limit:
            row["accuracy"] = accuracy(self.network.submodel(submodel), self.images, self.labels)
        return row


def accuracy(model, images, labels):
    """The share of images that a plain model puts into the class of their label."""
    logits = predict(lambda images: model(images, training=False), images, _BATCH)
    return float(np.mean(logits.argmax(axis=-1) == labels))


def search(candidates, trials, seed=0, journal=None, name="search", tell=None):
    """Searches a network's space for the sub-models that are accurate and cheap.

    NSGA-II over accuracy and cost: of two candidates within the budget neither is better unless it
    is so in both; those beyond the budget are only compared by how far.

    Args:
        candidates: `Candidates`.
        trials: Sub-models to try in all, also over several calls that share a journal.
        seed: Of the draws.
        journal: File that keeps every trial as it ends, so that a search that was interrupted goes
            on; None for none.
        name: Of this search in its journal: what was measured how.
        tell: Function that is called with the rows so far after each trial.

    Returns:
        The measured rows in order, each sub-model once: name, accuracy (unless it is beyond the
        budget) and costs.

    Raises:
        ValueError: The network has no space, or Optuna is not installed.

    Example:
        >>> rows = search(Candidates(network, batches, images, labels, Budget.parse("4M")), 200)
        >>> budget.choose(pareto(rows, "multiply_adds"), Budget.parse("4M"))["name"]

    Source: Deb et al., NSGA-II, 2002, as in Optuna.
    """
    network, quantity = candidates.network, candidates.budget.quantity
    expected = "a FlexibleNetwork, which knows what its sub-models are searched among"
    check(isinstance(network, flexible.FlexibleNetwork), expected, network=network)
    require("optuna", extra="search")
    import optuna

    storage = None
    if journal is not None:
        pathlib.Path(journal).parent.mkdir(parents=True, exist_ok=True)
        backend = optuna.storages.journal.JournalFileBackend(str(journal))
        storage = optuna.storages.JournalStorage(backend)
    study = optuna.create_study(
        storage=storage, study_name=name, directions=["maximize", "minimize"], load_if_exists=True
    )
    done = [one for one in study.trials if one.state == optuna.trial.TrialState.COMPLETE]
    study.sampler = optuna.samplers.NSGAIISampler(
        population_size=min(_POPULATION, max(2, trials // 4)),
        seed=seed + len(done),
    )
    rows = {row["name"]: row for row in (json.loads(one.user_attrs["row"]) for one in done)}
    space = network.space()
    if not study.trials:
        for end in (0, -1):  # The smallest fits if any does.
            study.enqueue_trial({gene: choices[end] for gene, choices in space.items()})

    def objective(trial):
        genes = {gene: trial.suggest_categorical(gene, space[gene]) for gene in space}
        submodel = network.compose(genes)
        if submodel.name not in rows:
            rows[submodel.name] = candidates.measure(submodel)
        row = rows[submodel.name]
        trial.set_user_attr("row", json.dumps(row))
        trial.set_constraint("budget", row[quantity] / candidates.budget.limit - 1)
        return row.get("accuracy", 0.0), row[quantity]

    for _ in counter.track(range(trials - len(done)), "searching", "sub-models"):
        study.optimize(objective, n_trials=1)
        if tell:
            tell([*rows.values()])
    return [*rows.values()]


def pareto(rows, quantity):
    """Returns the rows, cheapest first, that are more accurate than all cheaper ones."""
    best, kept = -1.0, []
    for row in sorted(rows, key=lambda row: (row[quantity], -row.get("accuracy", -1.0))):
        if row.get("accuracy", -1.0) > best:
            best = row["accuracy"]
            kept.append(row)
    return kept


def table(rows, quantity):
    """Rows as an aligned table."""
    others = [
        key for key in rows[0] if key in (*COUNTS, "bytes", "milliseconds") and key != quantity
    ]
    columns = [
        (key.replace("_", "-"), key, "{:.3f}" if key == "milliseconds" else "{:,}")
        for key in (quantity, *others)
    ]
    head = [("sub-model", "name", "{}"), ("accuracy %", "accuracy", tables.percent)]
    return tables.text(rows, head + columns)


def draw(rows, named, budget, title, path):
    """Writes a figure: what was tried, the best for their cost, and the named sub-models."""
    figure, (axes,) = figures.figure(1, title)
    groups = {
        "tried": [row for row in rows if "accuracy" in row],
        "named": named,
        "best for its cost": pareto(rows, budget.quantity),
    }
    for number, (label, group) in enumerate(groups.items()):
        style = figures.style(number, len(groups), label)
        style |= {"linestyle": "-" if number == 2 else "", "markersize": 4}
        points = [row[budget.quantity] for row in group], [100 * row["accuracy"] for row in group]
        axes.plot(*points, **style)
    if math.isfinite(budget.limit):
        axes.axvline(budget.limit, color="0.5", linestyle=":", label=f"budget {budget.text}")
    axes.set(xlabel=budget.quantity.replace("_", "-"), ylabel="held-out accuracy (%)")
    axes.xaxis.set_major_formatter(lambda value, _: amount(value, budget.quantity).split()[0])
    axes.legend(fontsize="small")
    figures.save(figure, path)
