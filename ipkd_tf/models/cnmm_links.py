"""The layers of convolutional neural mixtures, and the three ways to pass through their links."""

import functools

import keras
import tensorflow as tf

from ipkd_tf.models import blocks, layers, shared_norm


def nested_links(nodes, d):
    """The links (i, j), i before j, among the first node and the last d."""
    members = [0, *range(nodes - d + 1, nodes + 1)]
    return tuple((i, j) for j in members for i in members if i < j)


def link_use(pi, nodes):
    """Returns how probably each link is part of the path that is sampled: u_ij = q_j pi_ij."""
    used, links = {nodes: 1.0}, {}  # q by node, u by link
    for j in range(nodes, 0, -1):
        for i in range(j):
            links[i, j] = used[j] * pi[i, j]
            used[i] = used.get(i, 0.0) + links[i, j]
    return links


@keras.saving.register_keras_serializable("ipkd_tf")
class ExpectedCost(keras.regularizers.Regularizer):
    """Links used on average, as a share of the nodes, less the entropies of all choices."""

    def __init__(self, cost, entropy):
        self.cost, self.entropy = cost, entropy

    def __call__(self, logits):
        nodes = logits.shape[0]
        logs = [tf.nn.log_softmax(logits[j - 1, :j]) for j in range(1, nodes + 1)]
        entropies = [-tf.reduce_sum(tf.exp(log) * log) for log in logs]
        pi = {(i, j): tf.exp(logs[j - 1][i]) for j in range(1, nodes + 1) for i in range(j)}
        total = tf.add_n(list(link_use(pi, nodes).values()))
        return self.cost * total / nodes - self.entropy * tf.add_n(entropies)

    def get_config(self):
        return {"cost": self.cost, "entropy": self.entropy}


@keras.saving.register_keras_serializable("ipkd_tf")
class MixLinks(keras.layers.Layer):
    """The mixture weights of the nodes of one scale: row j - 1 of the logits holds those of j."""

    def __init__(self, nodes, regularizer=None, **kwargs):
        super().__init__(**kwargs)
        self.nodes = nodes
        self.regularizer = keras.regularizers.get(regularizer)

    def build(self, input_shape):
        self.logits = self.add_weight(
            shape=(self.nodes, self.nodes),
            initializer="zeros",
            regularizer=self.regularizer,
            name="mixing_bias",  # weights called bias do not decay
        )

    def call(self, inputs, node, sources):
        """Returns the mean of a list of tensors, what links from `sources` bring to `node`."""
        shares = self.shares(node, sources)
        terms = [tf.cast(shares[k], x.dtype) * x for k, x in enumerate(inputs)]
        return tf.add_n(terms)

    def shares(self, node, sources):
        """Probabilities of the sources of a node, `[sources]`."""
        return tf.nn.softmax(tf.gather(self.logits[node - 1], list(sources)))

    def sample(self, node, sources, noise):
        """One source of a node, by Gumbel noise `[nodes]`: 0 or 1, and the same with a slope."""
        soft = tf.nn.softmax(
            tf.gather(self.logits[node - 1], list(sources)) + tf.gather(noise, list(sources))
        )
        hard = tf.stop_gradient(tf.one_hot(tf.argmax(soft), len(sources)))
        return hard, hard + soft - tf.stop_gradient(soft)

    def get_config(self):
        regularizer = keras.regularizers.serialize(self.regularizer)
        return {**super().get_config(), "nodes": self.nodes, "regularizer": regularizer}


class SharedLayers:
    """The layers of all links, nodes and fixed parts, shared by all sub-models."""

    def __init__(self, num_classes, channels, nodes, cost_weight, entropy_weight):
        self.convs, self.norms = {}, {}
        self._conv("stem", channels[0], 3, 1, nodes)
        for scale, filters in enumerate(channels):
            if scale:
                self._conv(f"transition_{scale}", filters, 3, 2, nodes)
            for i, j in nested_links(nodes, nodes):
                name = _link(scale, i, j)
                initializer = keras.initializers.RandomNormal(stddev=(2 / 9) ** 0.5)
                settings = {"padding": "same", "use_bias": False, "name": f"{name}_depthwise"}
                self.convs[f"{name}_depthwise"] = keras.layers.DepthwiseConv2D(
                    3, depthwise_initializer=initializer, **settings
                )
                self._norm(f"{name}_depthwise", filters, nodes)
                self._conv(f"{name}_pointwise", filters, 1, 1, nodes)
        self.mixers = [
            MixLinks(nodes, ExpectedCost(cost_weight, entropy_weight), name=f"mix_{scale}")
            for scale in range(len(channels))
        ]
        self.logits = keras.layers.Dense(num_classes, name="logits")

    def _conv(self, name, filters, side, strides, levels):
        self.convs[name] = layers.Conv2D(
            filters,
            side,
            strides,
            padding="same",
            use_bias=False,
            kernel_initializer=keras.initializers.VarianceScaling(2.0, "fan_out", "normal"),
            name=name,
        )
        self._norm(name, filters, levels)

    def _norm(self, name, filters, levels):
        self.norms[name] = shared_norm.SharedBatchNormalization(
            [filters] * levels, name=f"{name}_norm"
        )


def _link(scale, i, j):
    return f"scale_{scale}_link_{i}_{j}"


class _Pass:
    """A pass through links, whatever they are made of."""

    def link(self, x, scale, i, j):
        x = self.conv_norm_relu(x, f"{_link(scale, i, j)}_depthwise", scale)
        return self.conv_norm_relu(x, f"{_link(scale, i, j)}_pointwise", scale)

    def mix(self, x, scale, nodes, links):
        features = {0: x}
        for j in range(1, nodes + 1):
            sources = [i for i, node in links if node == j]
            if sources:
                values = [self.link(features[i], scale, i, j) for i in sources]
                features[j] = self.mean(values, scale, j, tuple(sources))
        return features[nodes]


class MeanPass(_Pass):
    """Calls the shared layers for the mean of a sub-model; `number` names its statistics."""

    def __init__(self, shared, number):
        self.shared, self.number = shared, number
        self.logits = shared.logits

    def conv_norm_relu(self, x, name, scale):
        x = self.shared.norms[name](self.shared.convs[name](x), submodel=self.number)
        return layers.ReLU()(x)

    def mean(self, values, scale, node, sources):
        return self.shared.mixers[scale](values, node=node, sources=sources)


class SampledPass(MeanPass):
    """Calls the layers of one sampled path; links beside the path are not computed."""

    def __init__(self, shared, noise):
        super().__init__(shared, None)
        self.noise = noise

    def mix(self, x, scale, nodes, links):
        on_path, weights = {nodes: tf.ones([])}, {}
        for j in range(nodes, 0, -1):
            sources = [i for i, node in links if node == j]
            if not sources or j not in on_path:
                continue
            hard, slope = self.shared.mixers[scale].sample(j, sources, self.noise[scale, j - 1])
            for k, i in enumerate(sources):
                used = on_path[j] * hard[k]
                weights[i, j] = used > 0.5, slope[k]
                on_path[i] = on_path.get(i, 0.0) + used
        features = {0: x}
        for j in range(1, nodes + 1):
            terms = [
                self.shared.norms["stem"].run_if(
                    chosen,
                    functools.partial(self._weighted, features[i], scale, i, j, weight),
                    tf.zeros_like(x),
                )
                for (i, node), (chosen, weight) in sorted(weights.items())
                if node == j
            ]
            if terms:
                features[j] = tf.add_n(terms)
        return features[nodes]

    def _weighted(self, x, scale, i, j, weight):
        value = self.link(x, scale, i, j)
        return tf.cast(weight, value.dtype) * value


class PlainPass(_Pass, blocks.PlainLayers):
    """Makes the layers of one sub-model, the shares of each link as constants."""

    def __init__(self, num_classes, channels, shares):
        super().__init__(num_classes)
        self.channels, self.shares = channels, shares

    def conv_norm_relu(self, x, name, scale):
        if name.endswith("_depthwise"):
            x = self.depthwise(x, name)
        elif name.endswith("_pointwise"):
            x = self.conv(x, name, self.channels[scale])
        else:
            x = self.conv(x, name, self.channels[scale], 3, 2 if scale else 1)
        return self.relu(self.norm(x, f"{name}_norm"))

    def link(self, x, scale, i, j):
        x, share = super().link(x, scale, i, j), float(self.shares[scale][i, j])
        name = f"{_link(scale, i, j)}_pointwise_share"
        return x if share == 1.0 else keras.layers.Rescaling(share, name=name)(x)

    def mean(self, values, scale, node, sources):
        return keras.layers.Add()(values) if len(values) > 1 else values[0]
