"""Every committed run parses, builds its network, and says of the paper what the paper says."""

import contextlib
import functools
import json
import pathlib
import re
from unittest import mock

from absl import flags
from absl.testing import absltest, parameterized

from ipkd_tf import models
from ipkd_tf.distillation import teachers
from ipkd_tf.models import cost, flexible
from ipkd_tf.reports import paper
from ipkd_tf.tools import sweep
from ipkd_tf.training.experiment import METHODS
from tests import test_train_main

ROOT = pathlib.Path(__file__).parents[1]
RUNS = sorted(path.stem for path in (ROOT / "runs").glob("*.flags"))
FAMILIES = ("msdnet", "slimmable_mobilenet_v1")
FULL = [f"{family}_{dataset}" for family in FAMILIES for dataset in ("cifar10", "cifar100")]
SMALL = [f"{family}_small_cifar10" for family in FAMILIES]
OTHERS = [
    f"{family}_small_cifar10"
    for family in ("us_mobilenet_v1", "ofa_mobilenet_v3", "hne_resnet", "cnmm", "sp_resnet20")
]
QUICKSTARTS = {
    "quickstart",
    "quickstart_slimmable",
    "quickstart_hne",
    "quickstart_us",
    "quickstart_cnmm",
    "quickstart_ofa",
    "quickstart_plain_cnn",
    "quickstart_sp",
}
TAUGHT_BY = {
    "takd_plain_cnn_10": [],
    "takd_plain_cnn_10_6": ["plain_cnn_10"],
    "takd_plain_cnn_10_6_4": ["plain_cnn_10_6"],
    "takd_plain_cnn_10_6_4_2": ["plain_cnn_10_6_4"],
    "takd_plain_cnn_10_2": ["plain_cnn_10"],
    "takd_plain_cnn_2": [],
    "takd_plain_cnn_dense_4": ["plain_cnn_10", "plain_cnn_10_6"],
    "takd_plain_cnn_dense_2": ["plain_cnn_10", "plain_cnn_10_6", "plain_cnn_dense_4"],
    "takd_resnet_110": [],
    "takd_resnet_110_20": ["resnet_110"],
    "takd_resnet_110_20_8": ["resnet_110_20"],
    "takd_resnet_110_8": ["resnet_110"],
    "takd_resnet_8": [],
}
CLASSES = {"cifar10": 10, "cifar100": 100, "digits": 10, "tfds:imagenet2012": 1000}
SWEEPS = {  # runs of each, and of these, those that are no other sweep's before it
    "tune": (12, 12),
    "main": (80, 80),
    "length": (60, 48),
    "levers": (120, 96),
    "images": (120, 80),
    "graphs": (65, 50),
    "alone_msdnet": (20, 20),
    "alone_slimmable": (20, 20),
    "kd": (10, 10),
    "teacher": (1, 1),
    "kd_full": (3, 3),
    "chain": (18, 18),
    "exits": (9, 9),
    "families": (45, 45),
}
IMAGENET = {
    "msdnet_imagenet_none",
    "ofa_mobilenet_v3_imagenet_none",
    "slimmable_mobilenet_v1_imagenet_none",
    "us_mobilenet_v1_imagenet_ipkd",
}


@functools.cache
def build(model, num_classes, image_size, arguments="{}"):
    sizes = {"num_classes": num_classes, "image_size": image_size or 32}
    return models.from_preset(model, **sizes, **json.loads(arguments))


class RunsTest(test_train_main.MainTestCase):
    def read(self, name):
        with contextlib.chdir(ROOT):  # as flag files name each other
            status, errors, experiment = self.run_main(f"--flagfile=runs/{name}.flags")
        self.assertIsNone(status, errors)
        return experiment

    def test_there_are_all(self):
        names = {f"{group}_{method}" for group in FULL + SMALL for method in METHODS}
        names |= {*QUICKSTARTS, *TAUGHT_BY, *IMAGENET}
        names |= {f"plain_cnn_exits_{method}" for method in ("none", "ipkd_ta_1", "ipkd_ta_m")}
        names |= {f"{group}_{method}" for group in OTHERS for method in ("none", "ipkd_ta_m")}
        self.assertEqual({*RUNS}, names)
        self.assertLen(FULL, 16 // 4)

    @parameterized.parameters(*RUNS)
    def test_parses_and_builds(self, name):
        experiment = self.read(name)
        self.assertEqual(experiment.output_dir, f"runs/{name}/seed0")
        settings = experiment.model, CLASSES[experiment.dataset], experiment.size
        network = build(*settings, experiment.model_arguments)
        weights = teachers.from_spec(
            experiment.method, len(network.outputs), len(experiment.teachers)
        )
        self.assertTrue(weights[:, len(network.outputs) :].any(axis=0).all())
        self.assertEqual(network.outputs[0].shape, (None, CLASSES[experiment.dataset]))

    def test_the_evidence_is_all_there_and_builds(self):
        self.assertCountEqual(
            SWEEPS, [path.stem for path in (ROOT / "runs/evidence").glob("*.sweep")]
        )
        command = (ROOT / "runs/evidence/run.sh").read_text()
        self.assertEqual(re.search(r"for study in (.*); do", command)[1].split(), [*SWEEPS])
        seen, trained = {}, set()
        for study, (count, new) in SWEEPS.items():
            values = flags.FlagValues()
            sweep.define_flags(values)
            with contextlib.chdir(ROOT), mock.patch.object(sweep, "FLAGS", values):
                runs = sweep.list_runs(values(["", f"--flagfile=runs/evidence/{study}.sweep"])[1:])
            self.assertLen(runs, count, study)
            self.assertEqual(values["csv"].value, f"runs/evidence/{study}.csv")
            directories = {run.directory for run in runs}
            self.assertLen(directories, count)
            self.assertLen(directories - seen.keys(), new, study)
            for run in runs:
                one = run.experiment
                # A name stands for the same settings in all studies.
                self.assertEqual(seen.setdefault(run.directory, one), one)
                network = build(one.model, CLASSES[one.dataset], one.size)
                teachers.from_spec(one.method, len(network.outputs), len(one.teachers))
                if one.submodel:
                    self.assertIn(one.submodel, flexible.names(network))
                for path, _ in one.teachers:
                    self.assertIn(pathlib.Path(path), trained | directories)
            trained |= directories
        graphs = {run.method for run in seen.values() if teachers.is_text(run.method)}
        named = {name: teachers.from_spec(name, 4) for name in ("ipkd_ta_1", "ipkd_ta_m")}
        self.assertLen(graphs, 10)
        for graph in graphs:
            self.assertFalse(any((teachers.from_spec(graph, 4) == w).all() for w in named.values()))
        page = (ROOT / "docs/results.md").read_text()
        self.assertEqual(graphs, {*re.findall(r"^\| `(0:[0-9:,+]+)` \|", page, re.M)})

    @parameterized.parameters(*TAUGHT_BY)
    def test_chains_name_the_runs_before(self, name):
        experiment = self.read(name)
        expected = [f"runs/takd_{teacher}/seed0" for teacher in TAUGHT_BY[name]]
        self.assertEqual([path for path, _ in experiment.teachers], expected)
        header = (ROOT / f"runs/{name}.flags").read_text()
        self.assertIn(f"--flagfile=runs/{name}.flags\n", header)
        network = build(experiment.model, 10, 0)
        for path, _ in experiment.teachers:  # a teacher is larger
            teacher = self.read(pathlib.Path(path).parent.name)
            larger = build(teacher.model, 10, 0)
            self.assertGreater(larger.count_params(), network.count_params())
            self.assertEqual(teacher.dataset, experiment.dataset)
            self.assertEqual(teacher.validation, experiment.validation)

    def test_the_exits_take_the_arithmetic_of_their_frozen_chain(self):
        chain = [self.read("takd_plain_cnn_10_6_4_2"[:end]) for end in (17, 19, 21, 23)]
        costs = [cost.multiply_adds(build(run.model, 10, 0)) for run in chain]
        # Forward and two gradients of each; of each but the last also forward as a teacher.
        frozen = chain[0].epochs * (3 * sum(costs) + sum(costs[:-1]))
        for method in ("none", "ipkd_ta_1", "ipkd_ta_m"):
            exits = self.read(f"plain_cnn_exits_{method}")
            own = exits.epochs * 3 * cost.multiply_adds(build(exits.model, 10, 0))
            self.assertBetween(own / frozen, 0.998, 1.002)

    @parameterized.parameters(*FULL, *SMALL)
    def test_methods_differ_in_one_visible_line(self, group):
        shared = set()
        for method in METHODS:
            lines = (ROOT / f"runs/{group}_{method}.flags").read_text().splitlines()
            settings = [line for line in lines if not line.startswith("#")]
            self.assertIn(f"--method={method}", settings)
            self.assertLen(settings, 3)
            shared.add(tuple(line for line in settings if not line.startswith("--method")))
        self.assertLen(shared, 1)

    @parameterized.parameters(*FULL)
    def test_headers_give_the_papers_figures(self, group):
        family, _, dataset = group.rpartition("_")
        for method in METHODS:
            header = (ROOT / f"runs/{group}_{method}.flags").read_text()
            self.assertIn(f"--flagfile=runs/{group}_{method}.flags\n", header)
            figures = re.search(r"accuracy %:(.*?)\(.*average (\S+)\.\n", header)
            stated = [float(figure) for figure in [*figures[1].split(), figures[2]]]
            self.assertEqual(stated, [*paper.accuracies(family, dataset)[method]])

    @parameterized.parameters("cifar10", "cifar100")
    def test_settings_of_the_references(self, dataset):
        # reference: kalviny/MSDNet-PyTorch; the paper, section IV-B.
        msdnet = self.read(f"msdnet_{dataset}_ipkd_ta_m")
        self.assertEqual((msdnet.epochs, msdnet.batch_size, msdnet.learning_rate), (300, 64, 0.1))
        self.assertEqual((msdnet.schedule, msdnet.drop_epochs), ("step", (150, 225)))
        self.assertEqual((msdnet.momentum, msdnet.nesterov), (0.9, False))
        self.assertEqual((msdnet.weight_decay, msdnet.decay), (1e-4, "all"))
        self.assertEqual((msdnet.temperature, msdnet.divergence), (5.0, "kl"))
        self.assertEqual((msdnet.crop_padding, msdnet.flip, msdnet.rotation), (4, True, 0.0))
        # reference: JiahuiYu/slimmable_networks, weiaicunzai/pytorch-cifar100; the paper.
        slim = self.read(f"slimmable_mobilenet_v1_{dataset}_none")
        self.assertEqual((slim.epochs, slim.batch_size, slim.learning_rate), (200, 128, 0.1))
        self.assertEqual((slim.schedule, slim.drop_epochs), ("step", (59, 119, 159)))
        self.assertEqual((slim.learning_rate_drop_factor, slim.warmup_epochs), (0.2, 1))
        self.assertEqual((slim.momentum, slim.nesterov), (0.9, True))
        self.assertEqual((slim.weight_decay, slim.decay), (5e-4, "kernels"))
        self.assertEqual((slim.temperature, slim.divergence), (1.0, "ce"))
        self.assertEqual((slim.crop_padding, slim.flip, slim.rotation), (4, True, 15.0))
        for experiment in (msdnet, slim):
            self.assertEqual(experiment.distillation_weight, 0.8)
            self.assertEqual(experiment.validation, "test")
            mixing = experiment.mixup, experiment.cutout, experiment.label_smoothing
            self.assertEqual(mixing, (0, 0, 0))

    def test_settings_of_the_references_on_photographs(self):
        msdnet, ofa, slim, us = map(self.read, sorted(IMAGENET))
        for experiment in (msdnet, ofa, slim, us):
            shown = experiment.size, experiment.centre_crop, experiment.crop_padding
            self.assertEqual(shown, ((224, 224), 0.875, 0))
            decay = 3e-5 if experiment is ofa else 1e-4
            self.assertEqual((experiment.momentum, experiment.weight_decay), (0.9, decay))
        # reference: kalviny/MSDNet-PyTorch, README, main.py, dataloader.py
        self.assertEqual((msdnet.epochs, msdnet.batch_size, msdnet.learning_rate), (90, 256, 0.1))
        self.assertEqual((msdnet.schedule, msdnet.drop_epochs), ("step", (30, 60)))
        self.assertEqual((msdnet.resized_crop, msdnet.jitter, msdnet.decay), (0.08, 0, "all"))
        self.assertEqual((msdnet.held_out, msdnet.nesterov), (50_000, False))
        # reference: mit-han-lab/once-for-all, train_ofa_net.py: the network of the first phase
        self.assertEqual((ofa.epochs, ofa.batch_size, ofa.learning_rate), (180, 2048, 2.6))
        self.assertEqual((ofa.schedule, ofa.warmup_epochs, ofa.nesterov), ("cosine", 5, True))
        self.assertEqual((ofa.label_smoothing, ofa.method), (0.1, "none"))
        largest = build(ofa.model, 1000, 224, ofa.model_arguments)
        self.assertEqual((largest.drawn, largest.submodel_names[-1]), (1, "k7_e6_d4"))
        # reference: JiahuiYu/slimmable_networks, apps/{s,us}_mobilenet_v1_train_val.yml, train.py
        self.assertEqual((slim.epochs, slim.batch_size, slim.learning_rate), (480, 160, 0.045))
        self.assertEqual((slim.schedule, slim.learning_rate_drop_factor), ("exponential", 0.98))
        self.assertEqual((us.epochs, us.batch_size, us.learning_rate), (250, 1024, 0.5))
        self.assertEqual((us.schedule, us.method), ("linear", "ipkd"))
        soft = us.distillation_weight, us.temperature, us.divergence
        self.assertEqual(soft, (1.0, 1.0, "ce"))
        for experiment in (slim, us):
            self.assertEqual((experiment.resized_crop, experiment.jitter), (0.25, 0.4))
            self.assertEqual((experiment.nesterov, experiment.decay), (True, "kernels"))


if __name__ == "__main__":
    absltest.main()
