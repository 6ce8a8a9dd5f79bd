"""Losses between features of chosen layers: hints and attention, one more term of the objective."""

import dataclasses
import re

import keras
import tensorflow as tf

from ipkd_tf.models import flexible
from ipkd_tf.output.checks import check, check_choice


@dataclasses.dataclass(frozen=True)
class FeatureLoss:
    """A distance between the features `[batch, height, width, channels]` of two layers.

    Attributes:
        student: Name of a layer of the network.
        teacher: Name of another one, or `t1:NAME` for a layer of the first outside teacher. It is
            a constant, as every teacher is.
        kind: `attention`, between the maps of mean squares over the channels, of unit length (a
            teacher's map is scaled to the student's size); or `hint`, the mean squared difference
            of features of one shape.
        weight: Of the term.

    Example:
        >>> FeatureLoss("exit_1_conv_1", "exit_4_conv_1", kind="attention", weight=100.0)

    Source: Zagoruyko & Komodakis, Paying More Attention to Attention, ICLR 2017; Romero et al.,
    FitNets, ICLR 2015.
    """

    student: str
    teacher: str
    kind: str = "attention"
    weight: float = 1.0

    def __post_init__(self):
        check_choice(KINDS, kind=self.kind)
        check(self.weight > 0, "a number above 0", weight=self.weight)


class FeatureTerm:
    """The weighted sum of the feature losses of a network; it owns no weights."""

    def __init__(self, network, losses, models):
        train_logits = getattr(type(network), "train_logits", None)
        check(
            train_logits in (None, flexible.FlexibleNetwork.train_logits),
            "a network that trains its functional graph, for the features of its layers",
            network=type(network).__name__,
        )
        self._losses, self._outputs, self._numbers = losses, len(network.outputs), []
        students, teachers = [], {0: []}
        for loss in losses:
            number, name = re.fullmatch(r"(?:t(\d+):)?(.+)", loss.teacher).groups()
            number = int(number or 0)
            fits = number <= len(models)
            check(fits, f"one of {len(models)} outside teachers", teacher=loss.teacher)
            student = _features(network, loss.student)
            teacher = _features(models[number - 1] if number else network, name)
            alike = loss.kind != "hint" or student.shape[1:] == teacher.shape[1:]
            expected = "features of one shape for a hint; attention compares others, too"
            check(alike, expected, student=student.shape[1:], teacher=teacher.shape[1:])
            students.append(student)
            teachers.setdefault(number, []).append(teacher)
            self._numbers.append(number)
        outputs = [*network.outputs, *students, *teachers.pop(0)]
        self._network = keras.Model(network.inputs, outputs)
        self._teachers = {
            number: keras.Model(models[number - 1].inputs, outputs)
            for number, outputs in teachers.items()
        }

    def logits_and_loss(self, images):
        """The network's logits in training mode, and the term for each example, `[batch]`."""
        results = iter(keras.tree.flatten(self._network(images, training=True)))
        logits = [next(results) for _ in range(self._outputs)]
        students = [next(results) for _ in self._losses]
        teachers = {0: results}
        for number, model in self._teachers.items():
            teachers[number] = iter(keras.tree.flatten(model(images, training=False)))
        total = 0.0
        for loss, number, student in zip(self._losses, self._numbers, students, strict=True):
            teacher = tf.stop_gradient(next(teachers[number]))
            distance = KINDS[loss.kind](*(tf.cast(a, tf.float32) for a in (student, teacher)))
            total += loss.weight * distance
        return logits, total


def attention(student, teacher):
    """Squared distance `[batch]` of the two attention maps."""

    def attention_map(features):
        return tf.reduce_mean(tf.square(features), -1, keepdims=True)

    size = tf.shape(student)[1:3]
    maps = attention_map(student), tf.image.resize(attention_map(teacher), size, "area")
    one, other = (tf.math.l2_normalize(tf.reshape(a, [tf.shape(a)[0], -1]), 1) for a in maps)
    return tf.reduce_sum(tf.square(one - other), 1)


def hint(student, teacher):
    """Mean squared difference `[batch]`."""
    return tf.reduce_mean(tf.square(student - teacher), [1, 2, 3])


KINDS = {"attention": attention, "hint": hint}


def _features(network, name):
    maps = {
        layer.name: layer.output
        for layer in network.layers
        if len(getattr(getattr(layer, "output", None), "shape", ())) == 4
    }
    expected = "a layer with features [batch, height, width, channels], such as "
    check(name in maps, expected + ", ".join([*maps][-3:]), layer=name)
    return maps[name]
