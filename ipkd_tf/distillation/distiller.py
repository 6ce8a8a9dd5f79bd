"""In-place knowledge distillation as a Keras model: sub-models of one network teach each other."""

import dataclasses
import typing
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from ipkd_tf.distillation import losses
from ipkd_tf.distillation import outside as outside_teachers
from ipkd_tf.distillation import teachers as teacher_weights
from ipkd_tf.distillation.features import FeatureLoss, FeatureTerm
from ipkd_tf.distillation.metrics import SubmodelMetrics
from ipkd_tf.models import flexible, keras_hooks, naming
from ipkd_tf.output.checks import check


@keras.saving.register_keras_serializable("ipkd_tf")
class InplaceDistiller(SubmodelMetrics):
    """Trains all sub-models of a flexible network together, larger ones teaching smaller ones.

    Args:
        network: A functional `keras.Model` whose outputs are the logits `[batch, classes]` of its
            sub-models, smallest first.
        teachers: Who teaches whom: `none`, `ipkd`, `ipkd_ta_1`, `ipkd_ta_m`, `kd`, a text such as
            `0:6,1:2+6,2:t1`, or a matrix `[n, n + m]`; see `ipkd_tf.teachers.from_spec`.
        distillation_weight: Share lambda of the loss, in [0, 1], that a taught sub-model receives
            from its teachers; the labels keep the rest.
        temperature: Temperature of teacher and student in the distillation terms.
        divergence: `kl`, `ce` or `reverse_kl`; see `ipkd_tf.losses`.
        top_5: Whether to log the top-5 accuracy of each sub-model as well.
        outside: m trained models from the same images to logits of the same classes, frozen
            teachers t1, t2, ...; of several outputs the last, the largest, counts. They compute in
            inference mode and are not saved with the distiller: give them to a loaded one by
            `set_outside`.
        teacher_dropout: How many of the teachers, drawn anew, each training step does without.
            The others of a row take over; a sub-model that none is left for learns from the labels.
        features: `features.FeatureLoss` of chosen layers, a term added to `soft_loss` in training.
        seed: Of what a step draws: sub-models, by a network that draws them, and teachers.
        label_weight: What the labels weigh for a taught sub-model: `full`, 1, or `remaining`,
            1 - lambda, as in the paper.
        distillation_ramp_steps: Optimizer steps over which lambda rises from 0 to its value, in
            equal steps; 0: it has it from the first. Validation always has the whole lambda.

    Logs `loss` and its parts `hard_loss` (labels) and `soft_loss` (teachers), the accuracy of each
    sub-model by name (`exit_1_accuracy`), and their mean, `avg_accuracy`.

    A network may define `draw(seed, step)` and `train_logits(images, drawn)`, as
    `ipkd_tf.models.FlexibleNetwork`; then W is for the `drawn` sub-models of a step, and auxiliary
    logits learn from the labels alone, with the weight `auxiliary_weight`, 1 if it has none. Then
    training logs the losses only; validation logs the named sub-models, taught as the method says
    (by the labels alone where a matrix is of another size).

    Under a `tf.distribute` strategy the step is that of one device with the same global batch, with
    clipping and loss scaling, and with batch normalisation where its layers are `synchronized`.

    Labels are integers `[batch]` or probabilities `[batch, classes]`. Sample weights `[batch]` are
    those of a mean; 0 takes an example out of losses and metrics, even if it is NaN. Labels and
    weights may be columns `[batch, 1]`.

    Raises:
        ValueError: The network, the teachers or a setting is not as described.

    Example:
        >>> distiller = InplaceDistiller(MSDNet(num_classes=100), teachers="ipkd_ta_m")
        >>> distiller.compile(optimizer=ipkd_tf.optimizers.SGD(0.1, momentum=0.9))
        >>> distiller.fit(train, validation_data=test, epochs=300, shuffle=False)

    Source: Ozerov & Duong, EUSIPCO 2021, Equations 3 to 7.
    """

    def __init__(
        self,
        network: keras.Model,
        teachers: str | np.ndarray | Sequence = "ipkd_ta_m",
        distillation_weight: float = 0.8,
        temperature: float = 5.0,
        divergence: str = "kl",
        top_5: bool = False,
        outside: int | keras.Model | Sequence[keras.Model] = (),
        teacher_dropout: int = 0,
        seed: int = 0,
        features: Sequence[FeatureLoss | dict] = (),
        label_weight: str = "full",
        distillation_ramp_steps: int = 0,
        **kwargs: typing.Any,
    ):
        super().__init__(**kwargs)
        self.submodel_names = flexible.names(network)
        self.network = network
        losses.check_settings(distillation_weight, temperature, divergence, label_weight)
        whole = isinstance(distillation_ramp_steps, int) and distillation_ramp_steps >= 0
        steps = {"distillation_ramp_steps": distillation_ramp_steps}
        check(whole, "a whole number of steps, 0 for no ramp", **steps)
        self.distillation_weight = distillation_weight
        self.temperature = temperature
        self.divergence = divergence
        self.label_weight = label_weight
        self.distillation_ramp_steps = distillation_ramp_steps
        self.top_5 = top_5
        self.seed = seed
        self._feature_losses = [FeatureLoss(**f) if isinstance(f, dict) else f for f in features]
        self._feature_term = None
        outside = [outside] if isinstance(outside, keras.Model) else outside
        self._set_teachers(teachers, outside if isinstance(outside, int) else len(outside))
        self.teacher_dropout = outside_teachers.check_dropout(teacher_dropout, self.teachers)
        self._outside = None
        if not (isinstance(outside, int) and outside):
            self.set_outside(outside or ())
        self._make_metrics()
        self.built = True

    def _set_teachers(self, teachers, outside):
        """Builds W for what a step trains, and for the named sub-models, which validation sees."""
        self._number_outside = outside
        self._virtual = teacher_weights.find_virtual(teachers)
        check(
            "ema" not in self._virtual or not getattr(self.network, "needs_recalibration", False),
            "for the teacher ema normalisation statistics that every step keeps up to date; take "
            "the largest sub-model itself",
            teachers=teachers,
        )
        named = len(self.submodel_names)
        drawn = getattr(self.network, "drawn", named)
        self.teachers = self._teachers_of_named = teacher_weights.from_spec(
            teachers, drawn, outside
        )
        self._text = teachers if isinstance(teachers, str) else None
        if drawn != named:  # A method is for any number of sub-models.
            spec = self._text if self._text in teacher_weights.METHODS else "none"
            columns = self.teachers.shape[1] - drawn
            self._teachers_of_named = teacher_weights.from_spec(spec, named, columns)

    def set_outside(self, models: Sequence[keras.Model]) -> None:
        """Gives the outside teachers, as many as before, to a distiller loaded without them."""
        count = self._number_outside
        check(len(models) == count, f"{count} outside teachers", models=len(models))
        self._outside = outside_teachers.OutsideTeachers(models, self.network, self._virtual)
        if self._feature_losses:
            self._feature_term = FeatureTerm(
                self.network, self._feature_losses, self._outside.models
            )

    def call(self, inputs, training=None):
        """Returns the logits of every sub-model, a list of n tensors `[batch, classes]`."""
        return keras.tree.flatten(self.network(inputs, training=training))

    def compile(self, optimizer="sgd", loss=None, metrics=None, **kwargs):
        """Configures training as `keras.Model.compile`; the loss is the distiller's own.

        Args:
            optimizer: As there.
            loss: None.
            metrics: Further metrics, each kept for every sub-model by itself (`exit_1_NAME`):
                Keras's, their class names, or functions of labels and logits. They are given the
                labels as they come, the logits `[batch, classes]` and the sample weights.
            **kwargs: As there.

        Raises:
            ValueError: A loss, its weights or `weighted_metrics` are given; they would have no
                effect. Or a metric is none, or the optimizer accumulates gradients, and there are
                several replicas.
        """
        given = {name: kwargs.pop(name, None) for name in ("loss_weights", "weighted_metrics")}
        given["loss"] = loss
        check(
            all(value is None for value in given.values()),
            "no loss and no weighted_metrics: the distiller has its own, set by the arguments of "
            "its constructor; metrics are weighted",
            **given,
        )
        with self.distribute_strategy.scope():
            self._add_metrics(metrics or [])
        super().compile(optimizer=optimizer, **kwargs)
        inner, strategy = keras_hooks.inner_optimizer(self.optimizer), self.distribute_strategy
        averages = inner.use_ema or "ema" not in self._virtual
        check(averages, "for the teacher ema use_ema=True (--ema=0.999)", use_ema=inner.use_ema)
        replicas, steps = strategy.num_replicas_in_sync, inner.gradient_accumulation_steps
        expected = f"no accumulation of gradients on {replicas} devices: take larger batches"
        # Keras would sum over replicas inside a branch, which fails, and clip each by itself.
        check(replicas == 1 or not steps, expected, gradient_accumulation_steps=steps)
        with strategy.scope():
            self.optimizer.build(self.trainable_variables)

    def get_compile_config(self):
        config = super().get_compile_config()
        metrics = [keras.saving.serialize_keras_object(one) for one in self._given_metrics]
        return {**config, "metrics": metrics or None}

    def compile_from_config(self, config):
        # Keras does this by itself only for a model that keeps Model.compile as it is.
        self.compile(**keras.saving.deserialize_keras_object(config))

    def train_step(self, data):
        images, labels, weights = _unpack(data)
        naming.check_images(self.network, images)
        step = keras.ops.convert_to_tensor(self.optimizer.iterations)
        with tf.GradientTape() as tape:
            logits, auxiliary, drawn, term = self._train_logits(images, step)
            with tape.stop_recording():
                outside = self._outside_logits(images, logits)
            keep = outside_teachers.draw_kept(self.teachers, self.teacher_dropout, self.seed, step)
            steps = self.distillation_ramp_steps
            ramp = tf.minimum(tf.cast(step, tf.float32) / steps, 1.0) if steps else None
            hard, soft = self._hard_and_soft(
                labels, logits, outside, weights, self.teachers, keep, ramp
            )
            soft = soft + term if self._feature_term else soft
            if auxiliary:
                alone, _ = self._hard_and_soft(labels, auxiliary, [], weights, "none")
                hard += getattr(self.network, "auxiliary_weight", 1.0) * alone
            loss = self._replica_loss(hard + soft, weights)
            scaled = self.optimizer.scale_loss(loss)
        gradients = tape.gradient(scaled, self.trainable_weights)
        gradients = keras_hooks.sum_over_replicas(self.optimizer, gradients)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_weights, strict=True))
        return self._update_metrics(labels, None if drawn else logits, hard, soft, weights)

    def test_step(self, data):
        images, labels, weights = _unpack(data)
        naming.check_images(self.network, images)
        logits = self(images, training=False)
        outside = self._outside_logits(images, logits)
        hard, soft = self._hard_and_soft(labels, logits, outside, weights, self._teachers_of_named)
        return self._update_metrics(labels, logits, hard, soft, weights)

    def _train_logits(self, images, step):
        """Logits of what a step trains, auxiliary ones, whether it drew, the loss of features."""
        if self._feature_term:
            logits, term = self._feature_term.logits_and_loss(images)
            return logits, [], False, term
        if not hasattr(self.network, "train_logits"):
            return self(images, training=True), [], False, 0.0
        drawn = self.network.draw(self.seed, step)
        return *self.network.train_logits(images, drawn), drawn is not None, 0.0

    def _outside_logits(self, images, logits):
        """Logits of the teachers beside the sub-models, in the order of their columns of W."""
        expected = "outside teachers: loaded without its outside teachers, it needs set_outside"
        check(self._outside is not None, expected, outside=None)
        return self._outside.logits(images, logits, self.optimizer)

    def _hard_and_soft(self, labels, logits, outside, weights, teachers, keep=None, ramp=None):
        settings = self.distillation_weight, self.temperature, self.divergence
        return losses.per_example_losses(
            *(labels, logits, teachers, *settings, outside, weights, keep, self.label_weight, ramp)
        )

    def _replica_loss(self, per_example, weights):
        """This replica's part of the mean over the global batch, which may split unevenly."""
        replica = tf.distribute.get_replica_context()
        weights = tf.ones_like(per_example) if weights is None else weights
        weight = tf.reduce_sum(weights)
        if replica.num_replicas_in_sync > 1:
            weight = replica.all_reduce("SUM", weight)
        total = tf.reduce_sum(per_example * tf.cast(weights, per_example.dtype))
        loss = tf.math.divide_no_nan(total, tf.cast(weight, total.dtype))
        return loss + sum(self.losses) / replica.num_replicas_in_sync

    def get_config(self):
        """Returns the constructor's arguments; of outside teachers only their number."""
        settings = "distillation_weight temperature divergence top_5 teacher_dropout seed"
        settings += " label_weight distillation_ramp_steps"
        return {
            **super().get_config(),
            **{name: getattr(self, name) for name in settings.split()},
            "network": keras.saving.serialize_keras_object(self.network),
            "teachers": self._text or self.teachers.tolist(),
            "outside": self._number_outside,
            "features": [dataclasses.asdict(loss) for loss in self._feature_losses],
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        network = keras.saving.deserialize_keras_object(config["network"], custom_objects)
        return cls(**{**config, "network": network})


def _unpack(data):
    """Images, labels and weights; of images of weight 0 what is not finite is 0."""
    images, labels, weights = keras.utils.unpack_x_y_sample_weight(data)
    labels = tf.convert_to_tensor(labels)
    if labels.dtype.is_integer:
        labels = _flatten("class number", labels)
    if weights is None:
        return images, labels, None
    weights = _flatten("sample weight", tf.cast(weights, tf.float32))

    def clean(values):
        if not values.dtype.is_floating:
            return values
        keep = tf.reshape(weights != 0, [-1] + [1] * (values.shape.rank - 1))
        return tf.where(keep | tf.math.is_finite(values), values, tf.zeros_like(values))

    return keras.tree.map_structure(clean, images), labels, weights


def _flatten(what, values):
    """Values `[batch]`; Keras also hands over columns, and unknown ranks if it has seen both."""
    shape = values.shape
    fits = any(shape.is_compatible_with(one) for one in ([None], [None, 1]))
    expected = f"one {what} per example, [batch] or [batch, 1]; probabilities are floating-point"
    check(fits, f"{expected} numbers [batch, classes]", shape=shape if fits else tuple(shape))
    return tf.reshape(values, [-1])
