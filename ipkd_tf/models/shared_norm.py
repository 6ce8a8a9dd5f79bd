"""Batch normalisation that sub-models share, its statistics estimated for each of them."""

import keras
import numpy as np
import tensorflow as tf

from ipkd_tf.models import flexible, recalibration
from ipkd_tf.models.slimmable_layers import channels, leading


@keras.saving.register_keras_serializable("ipkd_tf")
class SharedBatchNormalization(keras.layers.Layer):
    """Normalises the leading channels with one scale and offset for all sub-models.

    Training uses the statistics of the batch and keeps none: those of one sub-model would be wrong
    for the others. They are estimated for each after training, and kept for the named ones.

    Args:
        sizes: Channels of each named sub-model; 0 for one that has no such layer.
        epsilon: Added to the variance.

    Example:
        >>> norm = SharedBatchNormalization([8, 16])
        >>> norm(features_16, training=True)  # by the batch
        >>> norm(features_8, submodel=0)  # by the statistics of sub-model 0

    Source: Yu & Huang, Universally Slimmable Networks, ICCV 2019, section 3.2.
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
        """Maps `[batch, height, width, channels]` to the same shape.

        Args:
            inputs: With the leading channels of one sub-model.
            submodel: Number of the named sub-model whose statistics count in inference; None for
                those of the batch.
            training: True for the statistics of the batch.
        """
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

        Args:
            chosen: Boolean scalar tensor.
            run: Function without arguments.
            otherwise: Tensor.
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


class SharedNormNetwork(flexible.FlexibleNetwork):
    """A family whose normalisations are `SharedBatchNormalization`, named as in `build_submodel`.

    The statistics of named sub-models are weights, saved with the network; those of others last as
    long as the object.
    """

    needs_recalibration = True

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        # Past Keras, which would track it.
        object.__setattr__(self, "_statistics_of_others", {})

    def weights_of(self, submodel, layer):
        if not isinstance(layer, keras.layers.BatchNormalization):
            return super().weights_of(submodel, layer)
        norm = self.get_layer(layer.name)
        size = layer.gamma.shape[0]
        scale_and_offset = [weight.numpy()[:size] for weight in (norm.gamma, norm.beta)]
        return [*scale_and_offset, *self._statistics(submodel, norm)]

    def _statistics(self, submodel, norm):
        if submodel.name in self.submodel_names:
            weights = norm.statistics[self.submodel_names.index(submodel.name)]
            found = [weight.numpy() for weight in weights]
        else:
            found = self._statistics_of_others.get(submodel, {}).get(norm.name)
        if found is None or not np.any(found[1]):
            raise ValueError(
                "Expected a sub-model whose normalisation statistics are known; call "
                f"recalibrate({submodel.name!r}, batches of training images) before. "
                f"Received: submodel={submodel.name!r}"
            )
        return found

    def recalibrate(self, which, batches):
        """Estimates the normalisation statistics of one sub-model from training images.

        Args:
            which: As for `submodel`.
            batches: Iterable of training images `[batch, height, width, channels]` in 0..255, such
                as ten batches of 200.

        Raises:
            ValueError: There is no such sub-model, or no batch.
        """
        submodel = self.resolve(which)
        model = self.build_submodel(submodel)
        norms = [n for n in model.layers if isinstance(n, keras.layers.BatchNormalization)]
        for layer in model.layers:
            if layer in norms:
                norm = self.get_layer(layer.name)
                layer.gamma.assign(norm.gamma.numpy()[: layer.gamma.shape[0]])
                layer.beta.assign(norm.beta.numpy()[: layer.beta.shape[0]])
            elif layer.weights:
                layer.set_weights(self.weights_of(submodel, layer))
        recalibration.estimate_statistics(model, batches)
        estimated = {n.name: (n.moving_mean.numpy(), n.moving_variance.numpy()) for n in norms}
        if submodel.name not in self.submodel_names:
            self._statistics_of_others[submodel] = estimated
            return
        number = self.submodel_names.index(submodel.name)
        for name, values in estimated.items():
            for weight, value in zip(self.get_layer(name).statistics[number], values, strict=True):
                weight.assign(value)
