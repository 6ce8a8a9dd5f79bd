"""The networks of two PyTorch programs, one call after the other, by the names of their weights.

Sources of the names: kalviny/MSDNet-PyTorch, models/msdnet.py; JiahuiYu/slimmable_networks,
models/s_mobilenet_v1.py and us_mobilenet_v1.py.
"""

import math


class Weights:
    """Named tensors, drawn at random where they are first asked for, if `create`."""

    def __init__(self, torch, state, create=False):
        self.torch, self.state, self.create = torch, state, create
        self.generator = torch.Generator().manual_seed(0)

    def tensor(self, name, *shape):
        if self.create and name not in self.state:
            value = self.torch.randn(shape, generator=self.generator)
            if name.endswith("running_var"):
                value = value.abs() + 0.5
            elif len(shape) > 1:
                value = value * (2 / math.prod(shape[1:])) ** 0.5
            self.state[name] = value
        return self.state[name]

    def conv(self, x, name, filters, kernel=3, stride=1, bias=False, width=1.0):
        """`width`: of the stored kernel, the share of the channels that `x` and `filters` are."""
        channels = x.shape[1]
        weight = self.tensor(
            f"{name}.weight", round(filters / width), self.inputs(channels, width), kernel, kernel
        )
        added = self.tensor(f"{name}.bias", filters) if bias else None
        weight = weight[:filters, :channels]
        return self.torch.nn.functional.conv2d(x, weight, added, stride, kernel // 2)

    def inputs(self, channels, width):
        return channels if channels == 3 else round(channels / width)

    def depthwise(self, x, name, stride, width):
        channels = x.shape[1]
        weight = self.tensor(f"{name}.weight", round(channels / width), 1, 3, 3)[:channels]
        return self.torch.nn.functional.conv2d(x, weight, None, stride, 1, groups=channels)

    def norm(self, x, name, affine=None, width=1.0):
        """`affine`: where scale and offset are, if not beside the statistics."""
        channels = x.shape[1]
        mean, variance = (
            self.tensor(f"{name}.running_{kind}", channels) for kind in ("mean", "var")
        )
        scale, offset = (
            self.tensor(f"{affine or name}.{kind}", round(channels / width) if affine else channels)
            for kind in ("weight", "bias")
        )
        scale, offset = scale[:channels], offset[:channels]
        return self.torch.nn.functional.batch_norm(x, mean, variance, scale, offset, eps=1e-5)

    def linear(self, x, name, classes, width=1.0):
        x = x.mean((2, 3))
        weight = self.tensor(f"{name}.weight", classes, round(x.shape[1] / width))
        return x @ weight[:, : x.shape[1]].T + self.tensor(f"{name}.bias", classes)

    def images(self, images, arguments):
        mean, std = (self.torch.tensor(arguments[key]) for key in ("mean", "std"))
        x = (self.torch.tensor(images) / 255 - mean) / std
        return x.permute(0, 3, 1, 2)


def msdnet(arguments, images, weights):
    factors, functional = arguments["growth_factors"], weights.torch.nn.functional
    scales, growth, inner = len(factors), arguments["growth"], arguments["bottleneck_factors"]

    def basic(x, name, filters, kernel=3, stride=1):
        x = weights.conv(x, f"{name}.net.0", filters, kernel, stride)
        return functional.relu(weights.norm(x, f"{name}.net.1"))

    def arrow(x, name, filters, factor, stride=1):
        position = 0
        if arguments["bottleneck"]:
            x = weights.conv(x, f"{name}.net.0", min(x.shape[1], factor * filters), 1)
            x, position = functional.relu(weights.norm(x, f"{name}.net.1")), 3
        x = weights.conv(x, f"{name}.net.{position}", filters, 3, stride)
        return functional.relu(weights.norm(x, f"{name}.net.{position + 1}"))

    x, features = weights.images(images, arguments), {}
    for s in range(scales):
        name = f"blocks.0.0.layers.{s}"
        if s == 0 and arguments["stem"] == "7x7":
            x = weights.conv(x, f"{name}.0", arguments["channels"], 7, 2, bias=True)
            x = functional.relu(weights.norm(x, f"{name}.1"))
            x = functional.max_pool2d(x, 3, 2, 1)
        else:
            x = basic(x, name, arguments["channels"] * factors[s], stride=2 if s else 1)
        features[s] = x

    later = range(1, arguments["blocks"])
    grows = arguments["step_mode"] == "lin_grow"
    lengths = [arguments["step"] * k + 1 if grows else arguments["step"] for k in later]
    lengths = [arguments["base"], *lengths]
    depth, number, width, logits = sum(lengths), 0, arguments["channels"], []
    for block, length in enumerate(lengths):
        position = 1 if block == 0 else 0
        for _ in range(length):
            number += 1
            if arguments["prune"] == "max":
                interval = math.ceil(depth / scales)
                kept_in, kept_out = (scales - max(0, number - k) // interval for k in (2, 1))
            else:
                kept_in, kept_out = (min(scales, depth - number + k) for k in (2, 1))
            outputs = {}
            for k, s in enumerate(range(scales - kept_out, scales)):
                name = f"blocks.{block}.{position}.layers.{k}"
                added, parts = growth * factors[s], [features[s]]
                if k or kept_in > kept_out:
                    added //= 2
                    finer = features[s - 1]
                    parts.append(arrow(finer, f"{name}.conv_down", added, inner[s - 1], 2))
                parts.append(arrow(features[s], f"{name}.conv_normal", added, inner[s]))
                outputs[s] = weights.torch.cat(parts, 1)
            features, position, width = outputs, position + 1, width + growth
            thirds = (depth // 3, 2 * depth // 3)
            reduces = kept_in > kept_out if arguments["prune"] == "max" else number in thirds
            if reduces and arguments["reduction"] > 0:
                width = math.floor(arguments["reduction"] * width)
                for k, s in enumerate(features):
                    name = f"blocks.{block}.{position}.m.{k}"
                    features[s] = basic(features[s], name, width * factors[s], 1)
                position += 1
        x = features[scales - 1]
        for k in (0, 1):
            filters = arguments["exit_channels"] or x.shape[1]
            x = basic(x, f"classifier.{block}.m.{k}", filters, stride=2)
        logits.append(weights.linear(x, f"classifier.{block}.linear", arguments["num_classes"]))
    return logits


def slimmable(arguments, images, weights):
    def norm(x, name, number, width):
        return weights.norm(x, f"{name}.bn.{number}")

    return _mobilenet(arguments, images, weights, norm)


def us(arguments, images, weights):
    def norm(x, name, number, width):
        return weights.norm(x, f"{name}.bn.{number}", name, width)

    return _mobilenet(arguments, images, weights, norm)


def _mobilenet(arguments, images, weights, norm):
    """Channels here are multiples of 8 at every width, so that none is rounded."""
    relu6, logits = weights.torch.nn.functional.relu6, []
    for number, width in enumerate(arguments["widths"]):
        x = weights.images(images, arguments)
        stem = round(arguments["stem"] * width)
        x = weights.conv(x, "features.0.0", stem, 3, arguments["stem_strides"], width=width)
        x = relu6(norm(x, "features.0.1", number, width))
        for block, (channels, stride) in enumerate(arguments["blocks"], 1):
            name = f"features.{block}.body"
            x = weights.depthwise(x, f"{name}.0", stride, width)
            x = relu6(norm(x, f"{name}.1", number, width))
            x = weights.conv(x, f"{name}.3", round(channels * width), 1, width=width)
            x = relu6(norm(x, f"{name}.4", number, width))
        logits.append(weights.linear(x, "classifier.0", arguments["num_classes"], width))
    return logits
