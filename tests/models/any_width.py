"""A small sampled family: any width, statistics apart from the weights, estimated afterwards."""

import keras
import tensorflow as tf

from ipkd_tf import models
from ipkd_tf.models import flexible, shared_norm, slimmable_layers


@keras.saving.register_keras_serializable("tests")
class Affine(keras.layers.Layer):
    """Leading channels of one scale and offset."""

    def build(self, input_shape):
        self.gamma = self.add_weight(shape=(16,), initializer="ones", name="gamma")
        self.beta = self.add_weight(shape=(16,), initializer="zeros", name="beta")

    def call(self, x):
        channels = slimmable_layers.channels(x)
        gamma, beta = (slimmable_layers.leading(w, channels) for w in (self.gamma, self.beta))
        return tf.nn.relu(x * gamma + beta)


@keras.saving.register_keras_serializable("tests")
class AnyWidth(models.FlexibleNetwork):
    """A convolution of at most 16 channels; a step trains a quarter, one width between, and all."""

    needs_recalibration = True
    drawn = 3

    def __init__(self, num_classes=10, image_size=32, widths=(0.25, 1.0), **kwargs):
        image = keras.Input((image_size, image_size, 3), name="image")
        x = keras.layers.Rescaling(1 / 255, name="rescale")(image)
        conv = slimmable_layers.SlimmableConv2D(3, 16, 3, 2, name="conv")
        affine = Affine(name="affine")
        dense = slimmable_layers.SlimmableDense(16, num_classes, name="logits")
        outputs, submodels = [], [_named(width) for width in widths]
        for submodel in submodels:
            norm = keras.layers.BatchNormalization(
                center=False, scale=False, name=f"{submodel.name}_norm"
            )
            y = affine(norm(conv(x, filters=_channels(submodel))))
            y = dense(keras.layers.GlobalAveragePooling2D()(y))
            outputs.append(keras.layers.Activation("linear", name=f"{submodel.name}_logits")(y))
        super().__init__(inputs=image, outputs=outputs, submodels=submodels, **kwargs)
        self.statistics = {}

    def resolve(self, which):
        try:
            return super().resolve(which)
        except ValueError:
            return _named(float(getattr(which, "name", which).removeprefix("width_")))

    def build_submodel(self, submodel):
        image = keras.Input(self.inputs[0].shape[1:], name="image")
        x = keras.layers.Rescaling(1 / 255, name="rescale")(image)
        x = keras.layers.Conv2D(_channels(submodel), 3, 2, "same", use_bias=False, name="conv")(x)
        x = keras.layers.ReLU()(keras.layers.BatchNormalization(name="norm")(x))
        x = keras.layers.GlobalAveragePooling2D()(x)
        logits = keras.layers.Dense(self.arguments["num_classes"], name="logits")(x)
        return keras.Model(image, logits, name=submodel.name)

    def weights_of(self, submodel, layer):
        if layer.name != "norm":
            return super().weights_of(submodel, layer)
        affine = self.get_layer("affine").get_weights()
        if submodel in self.submodels:
            statistics = self.get_layer(f"{submodel.name}_norm").get_weights()
        elif submodel.name in self.statistics:
            statistics = self.statistics[submodel.name]
        else:
            raise ValueError(
                "Expected a sub-model whose statistics are known; call network.recalibrate("
                f"{submodel.name!r}, batches). Received: submodel={submodel.name!r}"
            )
        return [weight[: _channels(submodel)] for weight in (*affine, *statistics)]

    def recalibrate(self, which, batches):
        submodel = self.resolve(which)
        channels = _channels(submodel)
        self.statistics[submodel.name] = [tf.zeros(channels).numpy(), tf.ones(channels).numpy()]
        model = self.submodel(submodel)
        shared_norm.estimate_statistics(model, batches)
        statistics = model.get_layer("norm").get_weights()[2:]
        self.statistics[submodel.name] = statistics
        if submodel in self.submodels:
            self.get_layer(f"{submodel.name}_norm").set_weights(statistics)

    def draw(self, seed, step):
        between = tf.random.stateless_uniform([1], [seed, step], 5, 16, tf.int32)
        return tf.concat([[4], between, [16]], 0)[:, tf.newaxis]

    def train_logits(self, images, drawn=None):
        x, logits = self.get_layer("rescale")(images), []
        for (channels,) in map(tf.unstack, tf.unstack(drawn)):
            y = self.get_layer("conv")(x, filters=channels)
            mean, variance = tf.nn.moments(y, [0, 1, 2])
            y = self.get_layer("affine")((y - mean) / tf.sqrt(variance + 1e-3))
            logits.append(self.get_layer("logits")(tf.reduce_mean(y, [1, 2])))
        return logits, [logits[0] + logits[-1]]


def _named(width):
    return flexible.Submodel(f"width_{width}", (width,))


def _channels(submodel):
    return max(1, round(16 * submodel.choice[0]))
