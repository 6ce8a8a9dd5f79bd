"""The networks as the papers draw them, in plain TensorFlow, on the weights of ours.

One convolution for each arrow, moments written out, nothing merged, padding by 1 as PyTorch's, on
images and with kernels the right way up. In training mode.
"""

import tensorflow as tf


def conv(x, kernel, strides=1):
    pad = kernel.shape[0] // 2
    x = tf.pad(x, [[0, 0], [pad, pad], [pad, pad], [0, 0]])
    return tf.nn.conv2d(x, kernel[::-1, ::-1], strides, "VALID")


def depthwise(x, kernel, strides):
    x = tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]])
    return tf.nn.depthwise_conv2d(x, kernel[::-1, ::-1], [1, strides, strides, 1], "VALID")


def normalized(x, gamma, beta):
    mean, variance = tf.nn.moments(x, [0, 1, 2])
    return (x - mean) / tf.sqrt(variance + 1e-5) * gamma + beta


def prepared(network, images):
    arguments = network.arguments
    return (tf.cast(images, tf.float32) / 255 - arguments["mean"]) / arguments["std"]


class Weights:
    """A network's weights by the names of its layers."""

    def __init__(self, network):
        self.network = network

    def kernel(self, name):
        return self.network.get_layer(name).kernel.value

    def conv_norm(self, x, name, strides=1):
        norm = self.network.get_layer(f"{name}_norm")
        x = conv(x, self.kernel(name), strides)
        return normalized(x, norm.gamma.value, norm.beta.value)

    def conv_norm_relu(self, x, name, strides=1):
        return tf.nn.relu(self.conv_norm(x, name, strides))

    def norm_relu(self, x, name, channels=slice(None), limit=None):
        norm = self.network.get_layer(f"{name}_norm")
        x = tf.nn.relu(normalized(x, norm.gamma.value[channels], norm.beta.value[channels]))
        return x if limit is None else tf.minimum(x, limit)

    def dense(self, x, name):
        layer = self.network.get_layer(name)
        pooled = tf.reduce_mean(x, [1, 2])
        return pooled @ layer.kernel.value[: pooled.shape[-1]] + layer.bias.value


def msdnet(network, images):
    """Logits of all exits of an MSDNet with bottlenecks."""
    layout, weights = network.layout, Weights(network)
    x, features = prepared(network, images), []
    for scale in range(layout.scales):
        name = f"stem_scale_{scale + 1}"
        large = layout.stem == "7x7" and scale == 0
        x = conv(x, weights.kernel(name), 2 if large or scale else 1)
        x = weights.norm_relu(x, name)
        if large:
            x = tf.nn.max_pool2d(x, 3, 2, [[0, 0], [1, 1], [1, 1], [0, 0]])
        features.append(x)
    logits = []
    for number, block in enumerate(layout.block_layers(), 1):
        for layer in block:
            features = _msdnet_layer(features, layer, layout, weights)
        x = features[-1]
        for name in (f"exit_{number}_conv_1", f"exit_{number}_conv_2"):
            x = weights.norm_relu(conv(x, weights.kernel(name), 2), name)
        logits.append(weights.dense(x, f"exit_{number}_logits"))
    return logits


def _msdnet_layer(features, layer, layout, weights):
    outputs = [None] * layout.scales
    existing = {layer.name for layer in weights.network.layers}
    for scale in range(layer.finest_out, layout.scales):
        name = f"{layer.name}_scale_{scale + 1}"
        if f"{name}_normal" not in existing:
            continue  # no exit reads it
        same = _bottleneck(features[scale], layer, scale, "normal", weights)
        normal = conv(same, weights.kernel(f"{name}_normal"))
        if f"{name}_down" in existing:
            finer = _bottleneck(features[scale - 1], layer, scale - 1, "down", weights)
            down = conv(finer, weights.kernel(f"{name}_down"), 2)
            half = down.shape[-1]
            new = [
                weights.norm_relu(down, name, slice(half)),
                weights.norm_relu(normal, name, slice(half, None)),
            ]
        else:
            new = [weights.norm_relu(normal, name)]
        outputs[scale] = tf.concat([features[scale], *new], -1)
        if layer.channels_kept:
            name = f"{name}_transition"
            outputs[scale] = weights.norm_relu(conv(outputs[scale], weights.kernel(name)), name)
    return outputs


def _bottleneck(x, layer, scale, use, weights):
    """The 1 x 1 before a layer's `normal` 3 x 3 at a scale, or before the `down` one from it."""
    name = f"{layer.name}_scale_{scale + 1}_bottleneck"
    kernel = weights.kernel(name)
    reader = {"down": f"{layer.name}_scale_{scale + 2}_down"}
    reader["normal"] = f"{layer.name}_scale_{scale + 1}_normal"
    width = weights.kernel(reader[use]).shape[2]
    # What goes down comes first.
    channels = slice(width) if use == "down" else slice(kernel.shape[-1] - width, None)
    return weights.norm_relu(conv(x, kernel[..., channels]), name, channels)


def slimmable_mobilenet_v1(network, images):
    """Logits of all widths of a Slimmable MobileNet-V1."""
    weights, logits = Weights(network), []
    for width, submodel in zip(network.arguments["widths"], network.submodel_names, strict=True):
        x, read = prepared(network, images), 3
        names = ["stem"]
        for number in range(1, len(network.arguments["blocks"]) + 1):
            names += [f"block_{number}_depthwise", f"block_{number}_pointwise"]
        for name in names:
            kernel = weights.kernel(name)
            if "depthwise" in name:
                strides = network.arguments["blocks"][int(name.split("_")[1]) - 1][1]
                x = depthwise(x, kernel[:, :, :read], strides)
            else:
                norm = network.get_layer(f"{submodel}_{name}_norm")
                filters = norm.gamma.shape[0]
                assert width < 1 or filters == kernel.shape[-1]
                strides = network.arguments["stem_strides"] if name == "stem" else 1
                x = conv(x, kernel[:, :, :read, :filters], strides)
                read = filters
            x = weights.norm_relu(x, f"{submodel}_{name}", limit=6.0)
        logits.append(weights.dense(x, "logits"))
    return logits


def resnet(network, images):
    """Logits of a residual network, a list of one."""
    weights, stages = Weights(network), len(network.arguments["channels"])
    x = weights.conv_norm_relu(prepared(network, images), "stem")
    for stage in range(1, stages + 1):
        for block in range(1, (network.arguments["depth"] - 2) // (2 * stages) + 1):
            name = f"stage_{stage}_block_{block}"
            shortcut, strides = x, 2 if stage > 1 and block == 1 else 1
            if strides == 2:
                shortcut = weights.conv_norm(x, f"{name}_shortcut", strides)
            x = weights.conv_norm_relu(x, f"{name}_conv_1", strides)
            x = tf.nn.relu(weights.conv_norm(x, f"{name}_conv_2") + shortcut)
    return [weights.dense(x, "logits")]


def hne_resnet(network, images):
    """Logits of a hierarchical ensemble's sub-models, each leaf's path computed by itself."""
    weights, depth, leaves = Weights(network), len(network.arguments["levels"]), []
    for leaf in range(2 ** (depth - 1)):
        x = weights.conv_norm_relu(prepared(network, images), "stem")
        for level, (channels, level_strides) in enumerate(network.arguments["levels"]):
            node = leaf // 2 ** (depth - 1 - level) if level else 0
            for unit in range(1, network.arguments["units"] + 1):
                strides = level_strides if unit == 1 else 1
                x = _hne_unit(
                    x, f"level_{level + 1}_node_{node + 1}_unit_{unit}", channels, strides, weights
                )
        leaves.append(weights.dense(x, f"leaf_{leaf + 1}_logits"))
    if network.arguments["average"] == "probabilities":
        shares = [tf.nn.softmax(leaf) for leaf in leaves]
        return [tf.math.log(sum(shares[: 2**b]) / 2**b) for b in range(depth)]
    return [sum(leaves[: 2**b]) / 2**b for b in range(depth)]


def _hne_unit(x, name, channels, strides, weights):
    shortcut = x
    if strides == 2 or x.shape[-1] != channels:
        shortcut = weights.conv_norm(x, f"{name}_shortcut", strides)
    x = weights.conv_norm_relu(x, f"{name}_expand")
    x = depthwise(x, weights.kernel(f"{name}_depthwise"), strides)
    x = weights.norm_relu(x, f"{name}_depthwise")
    return tf.nn.relu(weights.conv_norm(x, f"{name}_project") + shortcut)


def densenet(network, images):
    """Logits of a DenseNet, a list of one."""
    weights, each = Weights(network), 6 if network.arguments["bottleneck"] else 3
    x = conv(prepared(network, images), weights.kernel("stem"))
    for block in (1, 2, 3):
        for layer in range(1, (network.arguments["depth"] - 4) // each + 1):
            name = f"block_{block}_layer_{layer}"
            new = weights.norm_relu(x, name)
            if network.arguments["bottleneck"]:
                new = conv(new, weights.kernel(f"{name}_bottleneck"))
                new = weights.norm_relu(new, f"{name}_bottleneck")
            x = tf.concat([x, conv(new, weights.kernel(f"{name}_conv"))], -1)
        x = weights.norm_relu(x, f"block_{block}")
        if block < 3:
            x = conv(x, weights.kernel(f"transition_{block}"))
            x = tf.nn.avg_pool2d(x, 2, 2, "VALID")
    return [weights.dense(x, "logits")]
