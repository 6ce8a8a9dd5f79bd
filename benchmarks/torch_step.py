"""PyTorch peer: times one optimiser step of the same flexible networks.

An independent, minimal PyTorch implementation of the two architectures, for
side-by-side timing against ipkd_tf on the same machine. It needs only torch
(CPU build: `pip install torch==2.13.0` in a virtual environment of its own).

    python benchmarks/torch_step.py --model=slimmable --batch_size=128 --steps=10
    python benchmarks/torch_step.py --model=msdnet --batch_size=64 --method=ipkd_ta_m
    python benchmarks/torch_step.py --precision=bfloat16   # PyTorch's autocast

Prints one JSON line: median and best seconds per step, images per second
(from the median), trainable parameters. Weights and activations are
channels-last, the fastest layout for this work on a CPU. Run it in turn with
the other side (A B A B ...) and compare medians: machines drift.
"""

import argparse
import json
import math
import statistics
import time

import torch
from torch import nn
from torch.nn import functional as F


def conv_bn_relu(cin, cout, kernel, stride=1):
    return nn.Sequential(
        nn.Conv2d(cin, cout, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(cout),
        nn.ReLU(inplace=True),
    )


class Bottleneck(nn.Sequential):
    """1x1 to min(cin, factor * cout), then 3x3 to cout."""

    def __init__(self, cin, cout, factor, stride):
        inner = min(cin, factor * cout)
        super().__init__(conv_bn_relu(cin, inner, 1), conv_bn_relu(inner, cout, 3, stride))


class MSDNet(nn.Module):
    """Seven-exit CIFAR MSDNet: base 4, step 2, 16 channels, growth 6, 3 scales."""

    def __init__(self, classes, exits=7, base=4, step=2, channels=16, growth=6):
        super().__init__()
        factor = (1, 2, 4)
        scales = len(factor)
        steps = [base] + [step] * (exits - 1)
        interval = math.ceil(sum(steps) / scales)
        cin = channels
        stem, prev = [], 3
        for s in range(scales):
            stem.append(conv_bn_relu(prev, channels * factor[s], 3, 1 if s == 0 else 2))
            prev = channels * factor[s]
        self.stem = nn.ModuleList(stem)
        self.blocks, self.heads = nn.ModuleList(), nn.ModuleList()
        layer = 0
        for n in steps:
            block = nn.ModuleList()
            for _ in range(n):
                layer += 1
                first_in = max(0, layer - 2) // interval
                first = (layer - 1) // interval
                block.append(_Layer(cin, growth, factor, first_in, first))
                cin += growth
                if first > first_in:
                    out = cin // 2
                    block.append(_Transition(cin, out, factor[first:]))
                    cin = out
            self.blocks.append(block)
            self.heads.append(
                nn.Sequential(
                    conv_bn_relu(cin * factor[-1], 128, 3, 2),
                    conv_bn_relu(128, 128, 3, 2),
                    nn.AvgPool2d(2),
                    nn.Flatten(),
                    nn.Linear(128, classes),
                )
            )

    def forward(self, x):
        features = []
        for stem in self.stem:
            x = stem(x)
            features.append(x)
        logits = []
        for block, head in zip(self.blocks, self.heads, strict=False):
            for layer in block:
                features = layer(features)
            logits.append(head(features[-1]))
        return logits


class _Layer(nn.Module):
    def __init__(self, cin, growth, factor, first_in, first):
        super().__init__()
        self.drop = first - first_in
        self.down, self.same = nn.ModuleList(), nn.ModuleList()
        for s in range(first, len(factor)):
            out = growth * factor[s]
            if s == first and not self.drop:
                self.down.append(None)
                self.same.append(Bottleneck(cin * factor[s], out, factor[s], 1))
            else:
                self.down.append(Bottleneck(cin * factor[s - 1], out // 2, factor[s - 1], 2))
                self.same.append(Bottleneck(cin * factor[s], out // 2, factor[s], 1))

    def forward(self, features):
        out = []
        for k, (down, same) in enumerate(zip(self.down, self.same, strict=False)):
            here = features[k + self.drop]
            new = [here]
            if down is not None:
                new.append(down(features[k + self.drop - 1]))
            new.append(same(here))
            out.append(torch.cat(new, 1))
        return out


class _Transition(nn.Module):
    def __init__(self, cin, cout, factor):
        super().__init__()
        self.convs = nn.ModuleList(conv_bn_relu(cin * f, cout * f, 1) for f in factor)

    def forward(self, features):
        return [conv(x) for conv, x in zip(self.convs, features, strict=False)]


class Slimmable(nn.Module):
    """MobileNet-V1 for 32x32 images, widths sharing leading weight slices."""

    BLOCKS = (
        [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)]
        + [(512, 1)] * 5
        + [(1024, 2), (1024, 1)]
    )

    def __init__(self, classes, widths=(0.25, 0.5, 0.75, 1.0)):
        super().__init__()
        self.widths = widths
        self.stem = nn.Conv2d(3, 32, 3, 1, 1, bias=False)
        self.depthwise, self.pointwise = nn.ModuleList(), nn.ModuleList()
        cin, norms = 32, [32]
        for cout, stride in self.BLOCKS:
            self.depthwise.append(nn.Conv2d(cin, cin, 3, stride, 1, groups=cin, bias=False))
            self.pointwise.append(nn.Conv2d(cin, cout, 1, bias=False))
            norms += [cin, cout]
            cin = cout
        self.norms = nn.ModuleList(
            nn.ModuleList(nn.BatchNorm2d(int(n * w)) for n in norms) for w in widths
        )
        self.head = nn.Linear(cin, classes)

    def forward(self, x):
        return [self.at(x, i) for i in range(len(self.widths))]

    def at(self, x, index):
        width, norms = self.widths[index], iter(self.norms[index])
        c = int(32 * width)
        x = F.relu6(next(norms)(F.conv2d(x, self.stem.weight[:c], None, 1, 1)))
        for dw, pw in zip(self.depthwise, self.pointwise, strict=False):
            x = F.conv2d(x, dw.weight[:c], None, dw.stride, 1, 1, c)
            x = F.relu6(next(norms)(x))
            n = int(pw.out_channels * width)
            x = F.relu6(next(norms)(F.conv2d(x, pw.weight[:n, :c])))
            c = n
        return F.linear(x.mean((2, 3)), self.head.weight[:, :c], self.head.bias)


def teacher_weights(method, n):
    w = torch.zeros(n, n)
    for i in range(n - 1):
        if method == "ipkd":
            w[i, -1] = 1
        elif method == "ipkd_ta_1":
            w[i, i + 1] = 1
        elif method == "ipkd_ta_m":
            w[i, i + 1 :] = 1 / (n - 1 - i)
    return w


def loss_fn(logits, labels, weights, lam, tau):
    teach = torch.stack([F.softmax(a.detach() / tau, -1) for a in logits])
    soft = torch.einsum("ij,jbc->ibc", weights, teach)
    total = 0.0
    for i, a in enumerate(logits):
        taught = float(weights[i].sum())
        total = total + (1 - lam * taught) * F.cross_entropy(a, labels)
        if taught:
            kd = -(soft[i] * F.log_softmax(a / tau, -1)).sum(-1).mean()
            total = total + lam * tau**2 * kd
    return total


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--model", choices=["msdnet", "slimmable"], default="slimmable")
    p.add_argument("--method", default="ipkd_ta_m")
    p.add_argument("--batch_size", type=int, default=128)
    p.add_argument("--classes", type=int, default=10)
    p.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    p.add_argument("--steps", type=int, default=10)
    p.add_argument("--warmup", type=int, default=2)
    a = p.parse_args()
    torch.manual_seed(0)
    net = {"msdnet": MSDNet, "slimmable": Slimmable}[a.model](a.classes)
    net = net.to(memory_format=torch.channels_last).train()
    images = torch.randn(a.batch_size, 3, 32, 32).to(memory_format=torch.channels_last)
    labels = torch.randint(0, a.classes, (a.batch_size,))
    opt = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9, weight_decay=1e-4)
    weights, tau = None, 5.0 if a.model == "msdnet" else 1.0
    times = []
    for _ in range(a.warmup + a.steps):
        start = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=a.precision == "bfloat16"):
            logits = net(images)
        logits = [logit.float() for logit in logits]
        if weights is None:
            weights = teacher_weights(a.method, len(logits))
        loss = loss_fn(logits, labels, weights, 0.8, tau)
        opt.zero_grad()
        loss.backward()
        opt.step()
        loss.item()
        times.append(time.perf_counter() - start)
    times = times[a.warmup :]
    median = statistics.median(times)
    print(
        json.dumps(
            {
                "peer": f"torch {torch.__version__}",
                "model": a.model,
                "method": a.method,
                "batch_size": a.batch_size,
                "precision": a.precision,
                "step_s_median": round(median, 4),
                "step_s_best": round(min(times), 4),
                "images_per_s": round(a.batch_size / median, 1),
                "params": sum(v.numel() for v in net.parameters()),
            }
        )
    )


if __name__ == "__main__":
    main()
