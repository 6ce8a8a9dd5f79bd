"""In-place knowledge distillation as a Keras model: sub-models of one network teach each other."""

import keras
import tensorflow as tf

from ipkd_tf.distillation import losses
from ipkd_tf.distillation import teachers as teacher_weights
from ipkd_tf.models import flexible


@keras.saving.register_keras_serializable("ipkd_tf")
class InplaceDistiller(keras.Model):
    """Trains all sub-models of a flexible network together, larger ones teaching smaller ones.

    Args:
        network: A functional `keras.Model` whose outputs are the logits `[batch, classes]` of its
            sub-models, smallest first: an `ipkd_tf.models` family or one of your own.
        teachers: Who teaches whom: `none`, `ipkd`, `ipkd_ta_1`, `ipkd_ta_m`, a text such as
            `0:6,1:2+6`, or a matrix `[n, n]`; see `ipkd_tf.teachers.from_spec`.
        distillation_weight: Share lambda of the loss, in [0, 1], that a taught sub-model receives
            from its teachers; the labels keep the rest.
        temperature: Temperature of teacher and student in the distillation terms.
        divergence: `kl`, `ce` or `reverse_kl`; see `ipkd_tf.losses`.
        top_5: Whether to log the top-5 accuracy of each sub-model as well.

    Logs `loss` and its parts `hard_loss` (labels) and `soft_loss` (teachers), the accuracy of each
    sub-model by name (`exit_1_accuracy`), and their mean, `avg_accuracy`.

    Under a `tf.distribute` strategy the step is that of one device with the same global batch: the
    optimizer's `global_clipnorm` and loss scaling see the gradients of all replicas together.
    (Batch normalisation too, where its layers are `synchronized`.)

    Labels are integers `[batch]` or probabilities `[batch, classes]`. Sample weights scale the
    examples of a weighted mean; the weight 0 takes an example out of losses and metrics.

    Raises:
        ValueError: The network, the teachers or a setting is not as described.

    Example:
        >>> distiller = InplaceDistiller(MSDNet(num_classes=100), teachers="ipkd_ta_m")
        >>> distiller.compile(optimizer=ipkd_tf.optimizers.SGD(0.1, momentum=0.9))
        >>> distiller.fit(train, validation_data=test, epochs=300)

    Source: Ozerov & Duong, EUSIPCO 2021, Equations 4 to 7.
    """

    def __init__(
        self,
        network,
        teachers="ipkd_ta_m",
        distillation_weight=0.8,
        temperature=5.0,
        divergence="kl",
        top_5=False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.submodel_names = flexible.names(network)
        self.network = network
        self.teachers = teacher_weights.from_spec(teachers, len(self.submodel_names))
        losses.check_settings(distillation_weight, temperature, divergence)
        self.distillation_weight = distillation_weight
        self.temperature = temperature
        self.divergence = divergence
        self.top_5 = top_5
        names = ["loss", "hard_loss", "soft_loss", "avg_accuracy"]
        names += [f"{name}_accuracy" for name in self.submodel_names]
        names += [f"{name}_top_5_accuracy" for name in self.submodel_names if top_5]
        self._means = {name: keras.metrics.Mean(name=name) for name in names}
        self.built = True

    @property
    def metrics(self):
        return list(self._means.values())

    def call(self, inputs, training=None):
        """Returns the logits of every sub-model, a list of n tensors `[batch, classes]`."""
        return keras.tree.flatten(self.network(inputs, training=training))

    def compile(self, optimizer="sgd", loss=None, metrics=None, **kwargs):
        """Configures training as `keras.Model.compile`; loss and metrics are the distiller's own.

        Raises:
            ValueError: A loss or metrics are given; they would have no effect.
        """
        if loss is not None or metrics is not None:
            raise ValueError(
                "Expected no loss and no metrics: the distiller has its own, set by the arguments "
                "of its constructor. "
                f"Received: loss={loss!r}, metrics={metrics!r}"
            )
        super().compile(optimizer=optimizer, **kwargs)
        with self.distribute_strategy.scope():
            self.optimizer.build(self.trainable_variables)

    def compile_from_config(self, config):
        # Keras does this by itself only for a model that keeps Model.compile as it is.
        self.compile(**keras.saving.deserialize_keras_object(config))

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        """Does nothing: network, metrics and optimizer are built already.

        Keras would take the mean of the replicas' first batches, which fails where these differ in
        size.
        """

    def train_step(self, data):
        images, labels, weights = self._unpack(data)
        with tf.GradientTape() as tape:
            logits = self(images, training=True)
            hard, soft = self._hard_and_soft(labels, logits)
            loss = self._replica_loss(hard + soft, weights)
            scaled = self.optimizer.scale_loss(loss)
        gradients = self._over_replicas(tape.gradient(scaled, self.trainable_weights))
        self.optimizer.apply_gradients(zip(gradients, self.trainable_weights, strict=True))
        return self._logs(labels, logits, hard, soft, weights)

    def test_step(self, data):
        images, labels, weights = self._unpack(data)
        logits = self(images, training=False)
        hard, soft = self._hard_and_soft(labels, logits)
        return self._logs(labels, logits, hard, soft, weights)

    def _unpack(self, data):
        images, labels, weights = keras.utils.unpack_x_y_sample_weight(data)
        labels = tf.convert_to_tensor(labels)
        if labels.shape.rank == 2 and labels.dtype.is_integer:
            labels = tf.squeeze(labels, 1)  # as in keras.datasets: one column of class numbers
        weights = tf.ones(tf.shape(labels)[:1]) if weights is None else tf.cast(weights, tf.float32)
        return images, labels, weights

    def _hard_and_soft(self, labels, logits):
        return losses.per_example_losses(
            labels,
            logits,
            self.teachers,
            self.distillation_weight,
            self.temperature,
            self.divergence,
        )

    def _replica_loss(self, per_example, weights):
        """This replica's part of the mean loss over the global batch.

        The optimizer adds up the replicas' gradients, so each divides by the weight of the whole
        batch: right also when the last batch splits unevenly.
        """
        replica = tf.distribute.get_replica_context()
        weight = tf.reduce_sum(weights)
        if replica.num_replicas_in_sync > 1:
            weight = replica.all_reduce("SUM", weight)
        total = tf.reduce_sum(per_example * tf.cast(weights, per_example.dtype))
        loss = tf.math.divide_no_nan(total, tf.cast(weight, total.dtype))
        return loss + sum(self.losses) / replica.num_replicas_in_sync

    def _over_replicas(self, gradients):
        """Gradients that make every replica clip and test for infinity what all sum up to.

        Keras looks at each replica's own gradients before it adds them up. There one replica may
        clip or skip a step that another takes, so here they are added up first and divided, for
        the optimizer adds them up again. As this costs a second all-reduce, it is done only for
        an optimizer with `global_clipnorm` or loss scaling.
        """
        replica = tf.distribute.get_replica_context()
        replicas = replica.num_replicas_in_sync
        scaling = isinstance(self.optimizer, keras.optimizers.LossScaleOptimizer)
        clip_norm = getattr(self.optimizer, "inner_optimizer", self.optimizer).global_clipnorm
        if replicas == 1 or not (scaling or clip_norm):
            return gradients
        gradients = replica.all_reduce("SUM", gradients)
        if clip_norm:
            # The optimizer's own clipping finds the divided gradients short enough.
            scale = tf.convert_to_tensor(self.optimizer.dynamic_scale) if scaling else 1.0
            gradients, _ = tf.clip_by_global_norm(gradients, clip_norm * scale)
        return [gradient / replicas for gradient in gradients]

    def _make_function(self, step_function):
        """Keras's training or test function; one of its own for several hosts, where that fails.

        Keras reduces the logs of a step in a way that MultiWorkerMirroredStrategy does not know
        (keras-team/keras#20585). Here they are the first local replica's; at the end of an epoch
        `fit` and `evaluate` read the metrics anyway, summed over all.
        """
        if not isinstance(self.distribute_strategy, tf.distribute.MultiWorkerMirroredStrategy):
            return super()._make_function(step_function)

        @tf.function(reduce_retracing=True, jit_compile=self.jit_compile)
        def step(batch):
            logs = self.distribute_strategy.run(step_function, args=(batch,))
            return {
                k: self.distribute_strategy.experimental_local_results(v)[0]
                for k, v in logs.items()
            }

        return lambda iterator: step(next(iterator))

    def _logs(self, labels, logits, hard, soft, weights):
        classes = labels if labels.dtype.is_integer else tf.argmax(labels, axis=-1)
        matches = [keras.metrics.sparse_categorical_accuracy(classes, a) for a in logits]
        values = {
            "loss": hard + soft + sum(self.losses),
            "hard_loss": hard,
            "soft_loss": soft,
            "avg_accuracy": tf.reduce_mean(tf.stack(matches), axis=0),
        }
        for name, match, a in zip(self.submodel_names, matches, logits, strict=True):
            values[f"{name}_accuracy"] = match
            if self.top_5:
                top_5 = keras.metrics.sparse_top_k_categorical_accuracy(
                    classes, tf.cast(a, tf.float32), k=5
                )
                values[f"{name}_top_5_accuracy"] = top_5
        for name, value in values.items():
            self._means[name].update_state(value, sample_weight=weights)
        return self.get_metrics_result()

    def get_config(self):
        return {
            **super().get_config(),
            "network": keras.saving.serialize_keras_object(self.network),
            "teachers": self.teachers.tolist(),
            "distillation_weight": self.distillation_weight,
            "temperature": self.temperature,
            "divergence": self.divergence,
            "top_5": self.top_5,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        network = keras.saving.deserialize_keras_object(config["network"], custom_objects)
        return cls(**{**config, "network": network})
