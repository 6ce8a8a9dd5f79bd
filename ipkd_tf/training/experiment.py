"""One training run as data: every setting once, with its default, help text and check."""

import dataclasses
import json
import math
import operator
import os
import re

METHODS = ("none", "ipkd", "ipkd_ta_1", "ipkd_ta_m")
_SUBSETS_OF_TEACHERS = re.compile(r"\s*\d+\s*:[\d\s:+,]*\d\s*")


def _setting(default, help, *, choices=None, check=None, expected=None):
    metadata = {"help": help, "choices": choices, "check": check, "expected": expected}
    return dataclasses.field(default=default, metadata=metadata)


_BOUNDS = {
    "above": operator.gt,
    "below": operator.lt,
    "at_least": operator.ge,
    "at_most": operator.le,
}


def _number(default, help, **bounds):
    """A finite number within bounds, given by the names in `_BOUNDS`."""

    def check(value):
        return math.isfinite(value) and all(_BOUNDS[b](value, end) for b, end in bounds.items())

    inside = " and ".join(f"{b.replace('_', ' ')} {end}" for b, end in bounds.items())
    return _setting(default, help, check=check, expected=f"a number {inside}")


def _parses(parse):
    """A check that `parse` accepts the text."""

    def check(text):
        try:
            parse(text)
        except ValueError:
            return False
        return True

    return check


def _increasing_epochs(text):
    epochs = tuple(int(part) for part in text.split(",")) if text else ()
    if any(second <= first for first, second in zip((0, *epochs), epochs, strict=False)):
        raise ValueError("not increasing")
    return epochs


def _widths(text):
    widths = tuple(float(part) for part in text.split(",")) if text else ()
    if not all(0 < width < math.inf for width in widths):
        raise ValueError("not positive")
    return widths


def _held_out(text):
    """None for "test", else an int (images) or a float in (0, 1) (share of the images)."""
    if text == "test":
        return None
    if not (match := re.fullmatch(r"holdout:(\d+|0?\.\d+)", text)):
        raise ValueError("neither test nor holdout:...")
    held_out = int(match[1]) if match[1].isdigit() else float(match[1])
    if not held_out:
        raise ValueError("nothing held out")
    return held_out


def _arguments(text):
    arguments = json.loads(text)
    if not isinstance(arguments, dict):
        raise ValueError("not an object")
    return arguments


@dataclasses.dataclass(frozen=True)
class Experiment:
    """The settings of one training run; the defaults are the paper's for MSDNet.

    Settings that are lists or objects are texts, so that a flag, a flag file and Python write
    them alike; the properties below hold the parsed values.

    Raises:
        ValueError: a setting of the wrong type or outside its range, named in the message.

    Example:
        experiment = Experiment(model="msdnet_small", method="ipkd", epochs=10, seed=1)
    """

    model: str = _setting(
        "msdnet",
        "Network family: msdnet, msdnet_small, slimmable_mobilenet_v1, "
        "slimmable_mobilenet_v1_small, or your own as package.module:Class.",
        check=bool,
        expected="the name of a family or package.module:Class",
    )
    widths: str = _setting(
        "",
        "Width multipliers of a slimmable family, such as 0.25,0.5,1; empty: the family's own.",
        check=_parses(_widths),
        expected="positive numbers with commas between",
    )
    model_arguments: str = _setting(
        "{}",
        'Further constructor arguments of the family as JSON, such as {"base": 2}.',
        check=_parses(_arguments),
        expected="a JSON object",
    )
    dataset: str = _setting(
        "digits",
        "digits (embedded, no download), cifar10, cifar100, tfds:NAME (another TFDS set with the "
        "features image and label), or folder:PATH (a folder of images per class).",
        check=bool,
        expected="the name of a data set",
    )
    data_dir: str = _setting("", "Where TFDS keeps its data sets; empty: TFDS's default.")
    image_size: int = _number(
        0, "Side in pixels the images are scaled to; 0: as the data set has them.", at_least=0
    )
    train_examples: int = _number(
        0, "Use a stratified part of the training images; 0: all.", at_least=0
    )
    test_examples: int = _number(0, "Use a stratified part of the test images; 0: all.", at_least=0)
    validation: str = _setting(
        "holdout:0.1",
        "What chooses the best epoch: holdout:5000 (images) or holdout:0.1 (share), stratified, "
        "taken from the training images and never augmented; or test, the paper's protocol.",
        check=_parses(_held_out),
        expected="test, holdout:IMAGES or holdout:SHARE with a share between 0 and 1",
    )
    method: str = _setting(
        "ipkd_ta_m",
        f"Who teaches whom: {', '.join(METHODS)}, or teachers by number such as 0:6,1:2+6.",
        check=lambda text: text in METHODS or _SUBSETS_OF_TEACHERS.fullmatch(text),
        expected=f"one of {', '.join(METHODS)}, or teachers by number such as 0:6,1:2+6",
    )
    distillation_weight: float = _number(
        0.8, "Lambda: share of the teachers in a taught sub-model's loss.", at_least=0, at_most=1
    )
    temperature: float = _number(5.0, "Temperature of the soft targets.", above=0)
    divergence: str = _setting(
        "kl",
        "Distance to the soft targets: kl(teacher || student), ce, or reverse_kl.",
        choices=("kl", "ce", "reverse_kl"),
    )
    epochs: int = _number(
        300,
        "Epochs to train; may grow when a run goes on (schedule=cosine then stretches).",
        at_least=1,
    )
    batch_size: int = _number(64, "Images per optimizer step, over all devices.", at_least=1)
    learning_rate: float = _number(0.1, "Learning rate before any drop.", above=0)
    schedule: str = _setting(
        "step",
        "Learning rate over time: step (multiplied by the drop factor at each drop), cosine "
        "(to 0 at the last epoch) or constant.",
        choices=("step", "cosine", "constant"),
    )
    learning_rate_drops: str = _setting(
        "150,225",
        "Epochs, counted from 0, at whose start schedule=step drops the rate.",
        check=_parses(_increasing_epochs),
        expected="increasing whole numbers above 0 with commas between, such as 150,225",
    )
    learning_rate_drop_factor: float = _number(
        0.1, "The rate is multiplied by this at each drop.", above=0, at_most=1
    )
    warmup_epochs: int = _number(0, "Epochs over which the rate first rises from 0.", at_least=0)
    momentum: float = _number(0.9, "Momentum of SGD.", at_least=0, below=1)
    nesterov: bool = _setting(False, "Nesterov's momentum.")
    weight_decay: float = _number(1e-4, "Weight decay, as in PyTorch's SGD.", at_least=0)
    decay: str = _setting(
        "all",
        "Which weights decay: all, or kernels (no batch normalisation, bias, depthwise kernel).",
        choices=("all", "kernels"),
    )
    crop_padding: int = _number(
        4, "Black pixels added on each side before the random crop; 0: no crop.", at_least=0
    )
    flip: bool = _setting(True, "Mirror every other training image, at random.")
    rotation: float = _number(
        0.0,
        "Degrees by which training images are turned at most; 0: none.",
        at_least=0,
        at_most=180,
    )
    cutout: int = _number(
        0,
        "Side in pixels of a black square at a random place of each training image; 0: none.",
        at_least=0,
    )
    mixup: float = _number(
        0.0, "Alpha of mixup, images and labels mixed in pairs, such as 0.2; 0: none.", at_least=0
    )
    label_smoothing: float = _number(
        0.0, "Share of a training label that is spread over all classes.", at_least=0, below=1
    )
    seed: int = _number(
        0,
        "Seed of initial weights, order and augmentation; the data split is the same for all.",
        at_least=0,
        at_most=2**31 - 1,
    )
    strategy: str = _setting(
        "auto",
        "Devices: none (one), mirrored (all of this host), multi_worker (several hosts, listed in "
        "TF_CONFIG), auto (multi_worker if TF_CONFIG is set, mirrored if there are several GPUs).",
        choices=("auto", "none", "mirrored", "multi_worker"),
    )
    synchronized_batch_normalization: bool = _setting(
        True, "Under several devices, normalise with the statistics of all devices' images."
    )
    precision: str = _setting(
        "float32",
        "Precision of the network's arithmetic; weights and loss are always float32.",
        choices=("float32", "mixed_bfloat16", "mixed_float16"),
    )
    clip_norm: float = _number(
        0.0, "Longest global norm of the gradient over all devices; 0: any length.", at_least=0
    )
    ema: float = _number(
        0.0,
        "Share of the old average kept at each step in a moving average of the weights, such as "
        "0.999, which is then what is evaluated and saved; 0: no average.",
        at_least=0,
        below=1,
    )
    jit: str = _setting(
        "auto",
        "XLA compilation: on, off, or auto (on one GPU). Slows down networks on a CPU.",
        choices=("auto", "on", "off"),
    )
    deterministic: bool = _setting(
        False, "Use only operations that repeat bit by bit, also on a GPU; slower, turns XLA off."
    )
    checkpoint_minutes: float = _number(
        10.0, "Time between checkpoints inside an epoch; each epoch ends with one too.", at_least=0
    )
    tensorboard: bool = _setting(
        False, "Write TensorBoard logs; needs the extra ipkd_tf[tensorboard]."
    )
    initialize_from: str = _setting(
        "",
        "Run directory or .keras file of the same model whose weights the network starts from; "
        "its heads start anew if the classes differ.",
    )
    name: str = _setting("", "Name of the run; empty: the flag file's, else made from settings.")
    workdir: str = _setting("", "Where the outputs go; empty: runs/NAME/seedSEED.")

    def __post_init__(self):
        for field in dataclasses.fields(self):
            _check(field, getattr(self, field.name))

    @property
    def constructor_arguments(self):
        """Arguments for the family beyond those the data set decides, as a dict."""
        arguments = _arguments(self.model_arguments)
        return {**arguments, "widths": _widths(self.widths)} if self.widths else arguments

    @property
    def held_out(self):
        """Images (int) or share of them (float) held out for validation; None: the test split."""
        return _held_out(self.validation)

    @property
    def drop_epochs(self):
        """Epochs, from 0, at which schedule=step drops the learning rate."""
        return _increasing_epochs(self.learning_rate_drops)

    @property
    def run_name(self):
        made = f"{self.model}_{self.dataset}_{self.method}"
        return self.name or re.sub(r"[^\w.]+", "_", made).strip("_")

    @property
    def output_dir(self):
        return self.workdir or os.path.join("runs", self.run_name, f"seed{self.seed}")


def _check(field, value):
    allowed = (int, float) if field.type is float else (field.type,)
    if type(value) not in allowed:
        raise ValueError(
            f"{field.name} must be of type {field.type.__name__}. Received: {field.name}={value!r}"
        )
    if (choices := field.metadata["choices"]) and value not in choices:
        raise ValueError(
            f"{field.name} must be one of {', '.join(choices)}. Received: {field.name}={value!r}"
        )
    if (check := field.metadata["check"]) and not check(value):
        expected = field.metadata["expected"]
        raise ValueError(f"{field.name} must be {expected}. Received: {field.name}={value!r}")
