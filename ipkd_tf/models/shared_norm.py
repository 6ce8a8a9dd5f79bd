"""Batch normalisation that sub-models share, its statistics estimated for each of them."""

import keras
import numpy as np
import tensorflow as tf

from ipkd_tf.models import flexible, keras_hooks
from ipkd_tf.models.slimmable_layers import channels, leading
from ipkd_tf.output import counter
from ipkd_tf.output.checks import check


@keras.saving.register_keras_serializable("ipkd_tf")
class SharedBatchNormalization(keras.layers.Layer):
    """Normalises the leading channels with one scale and offset for all sub-models.

    Training uses the statistics of the batch and keeps none: those of one sub-model would be wrong
    for the others. They are estimated for each after training, and kept for the named ones, whose
    channels are `sizes`; 0 for one that has no such layer. (Yu & Huang, ICCV 2019, section 3.2.)
    """

    def __init__(self, sizes, epsilon=1e-5, **kwargs):
        super().__init__(**kwargs)
        self.sizes = list(sizes)
        self.epsilon = epsilon
        self.synchronized = False

    def build(self, input_shape):
        def add(name, size, value, trainable=False):
            return self.add_weight(
                shape=(size,), initializer=value, name=name, trainable=trainable, dtype="float32"
            )

        self.gamma = add("gamma", max(self.sizes), "ones", trainable=True)
        self.beta = add("beta", max(self.sizes), "zeros", trainable=True)
        # A variance of 0 says that the statistics were never estimated.
        self.statistics = [
            (add(f"mean_{k}", size, "zeros"), add(f"variance_{k}", size, "zeros")) if size else ()
            for k, size in enumerate(self.sizes)
        ]

    def call(self, inputs, submodel=None, training=None):
        """Normalises by a named sub-model's statistics; in training, and for None, by the batch."""
        inputs = tf.cast(inputs, self.compute_dtype)
        gamma, beta = (leading(weight, channels(inputs)) for weight in (self.gamma, self.beta))
        by_batch = training or submodel is None
        if by_batch and (replica := self._replica()):
            return self._over_replicas(replica, inputs, gamma, beta)
        statistics = (tf.zeros([0]),) * 2 if by_batch else self.statistics[submodel]
        mean, variance = map(tf.convert_to_tensor, statistics)
        return tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=gamma,
            offset=beta,
            mean=mean,
            variance=variance,
            epsilon=self.epsilon,
            is_training=by_batch,
        ).y

    def run_if(self, chosen, run, otherwise):
        """Returns `run()`, with calls of this layer in it, or `otherwise`, of the same shape.

        Replicas that share statistics cannot meet inside a branch: they compute it, needed or not.
        """
        if self._replica():
            return tf.where(chosen, run(), otherwise)
        return tf.cond(chosen, run, lambda: otherwise)

    def _replica(self):
        """The context of the replica, if there are several that share statistics."""
        replica = tf.distribute.get_replica_context()  # None outside of a strategy's step
        several = self.synchronized and replica and replica.num_replicas_in_sync > 1
        return replica if several else None

    def _over_replicas(self, replica, inputs, gamma, beta):
        wide = tf.cast(inputs, tf.float32)
        moments = [tf.reduce_mean(wide, [0, 1, 2]), tf.reduce_mean(tf.square(wide), [0, 1, 2])]
        mean, square = (
            total / replica.num_replicas_in_sync for total in replica.all_reduce("SUM", moments)
        )
        outputs = tf.nn.batch_normalization(
            wide, mean, square - tf.square(mean), beta, gamma, self.epsilon
        )
        return tf.cast(outputs, inputs.dtype)

    def get_config(self):
        return {**super().get_config(), "sizes": self.sizes, "epsilon": self.epsilon}


def draw_uniform(seed, step, shape, low=0.0, high=1.0, dtype=tf.float32):
    """Uniform random numbers, a pure function of the seed and the step."""
    key = tf.stack([tf.constant(seed, tf.int64), tf.cast(step, tf.int64)])
    return tf.random.stateless_uniform(shape, key, low, high, dtype)


class SharedNormNetwork(flexible.FlexibleNetwork):
    """A family of `SharedBatchNormalization`, which keeps other than named statistics in memory."""

    needs_recalibration = True

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.keep(_statistics_of_others={})

    def weights_of(self, submodel, layer):
        if not isinstance(layer, keras.layers.BatchNormalization):
            return super().weights_of(submodel, layer)
        return [*self._affine(layer), *self._statistics(submodel, self.get_layer(layer.name))]

    def _affine(self, layer):
        """Scale and offset of the normalisation of a plain model."""
        shared, size = self.get_layer(layer.name), layer.gamma.shape[0]
        return [weight.numpy()[:size] for weight in (shared.gamma, shared.beta)]

    def _statistics(self, submodel, norm):
        if submodel.name in self.submodel_names:
            weights = norm.statistics[self.submodel_names.index(submodel.name)]
            known = [weight.numpy() for weight in weights]
        else:
            known = self._statistics_of_others.get(submodel, {}).get(norm.name)
        check(
            known is not None and np.any(known[1]),
            "a sub-model whose normalisation statistics are known; call "
            f"recalibrate({submodel.name!r}, batches of training images) before",
            submodel=submodel.name,
        )
        return known

    def recalibrate(self, which, batches):
        """Estimates the statistics of one sub-model from batches of images in 0..255."""
        submodel = self.resolve(which)
        model = self.build_submodel(submodel)
        norms = [n for n in model.layers if isinstance(n, keras.layers.BatchNormalization)]
        for layer in model.layers:
            if layer in norms:
                for weight, values in zip(layer.weights, self._affine(layer), strict=False):
                    weight.assign(values)
            elif layer.weights:
                layer.set_weights(self.weights_of(submodel, layer))
        estimate_statistics(model, batches)
        estimated = {n.name: (n.moving_mean.numpy(), n.moving_variance.numpy()) for n in norms}
        if submodel.name not in self.submodel_names:
            self._statistics_of_others[submodel] = estimated
            return
        number = self.submodel_names.index(submodel.name)
        for name, values in estimated.items():
            for weight, value in zip(self.get_layer(name).statistics[number], values, strict=True):
                weight.assign(value)


def estimate_statistics(model, batches):
    """Sets a model's batch normalisations to the averages of means and variances of the batches.

    Every layer sees what the layers before it make of the batch itself. Dropout is off. (Yu &
    Huang, Universally Slimmable Networks, ICCV 2019, section 3.2.)
    """
    layers = list(keras_hooks.flatten_layers(model))
    norms = [layer for layer in layers if isinstance(layer, keras.layers.BatchNormalization)]
    dropouts = [layer for layer in layers if isinstance(layer, keras.layers.Dropout)]
    before = [norm.momentum for norm in norms], [dropout.rate for dropout in dropouts]
    _set(dropouts, "rate", [0.0] * len(dropouts))
    batch = None
    for batch, images in enumerate(counter.track(batches, "estimating statistics", "batches")):
        # The average of batch + 1 values from that of the first ones and the last.
        _set(norms, "momentum", [batch / (batch + 1)] * len(norms))
        model(images, training=True)
    _set(norms, "momentum", before[0])
    _set(dropouts, "rate", before[1])
    check(batch is not None, "at least one batch of training images", batches=[])


def _set(layers, attribute, values):
    for layer, value in zip(layers, values, strict=True):
        setattr(layer, attribute, value)
