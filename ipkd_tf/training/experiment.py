"""One training run as data: every setting once, with its default, help text and check."""

import dataclasses
import os
import re

from ipkd_tf.distillation import teachers
from ipkd_tf.training import settings
from ipkd_tf.training.settings import number, setting

METHODS = tuple(name for name in teachers.METHODS if name != "kd")  # It needs another network.
_METHOD_HELP = (
    f"{', '.join(METHODS)}, kd (the first --teacher teaches all), or teachers by number such as "
    "0:6,1:2+6,2:t1 (t1: the first --teacher; mean and ema: see docs/teachers.md)"
)


def _parse_method(text):
    if text not in teachers.METHODS and not teachers.is_text(text):
        raise ValueError("neither a method nor teachers by number")


_parse_method.__doc__ = f"One of {_METHOD_HELP}."

OPTIMIZERS = (
    *("sgd", "adadelta", "adafactor", "adagrad", "adam", "adamax", "adamw", "ftrl", "lamb"),
    *("lion", "nadam", "rmsprop"),
)


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

    model: str = setting(
        "msdnet",
        "Network: msdnet, slimmable_mobilenet_v1, us_mobilenet_v1, ofa_mobilenet_v3 (these also "
        "with _imagenet), hne_resnet, cnmm, sp_resnet20, each also with _small; plain_cnn_2 to "
        "plain_cnn_10, plain_cnn_exits, resnet_8 to resnet_110, densenet_bc_40_12; or your own as "
        "package.module:Class.",
        parse=settings.parse_some,
        section="model",
    )
    widths: str = setting(
        "",
        "Width multipliers of a slimmable family, such as 0.25,0.5,1; empty: the family's own.",
        parse=settings.parse_widths,
    )
    model_arguments: str = setting(
        "{}",
        'Further constructor arguments of the family as JSON, such as {"base": 2}.',
        parse=settings.parse_arguments,
    )
    submodel: str = setting(
        "",
        "Train this sub-model alone, cut out of the family with the weights it has there, such as "
        "exit_3; empty: all of them together. The name of the run ends in it.",
    )
    initialize_from: str = setting(
        "",
        "Run directory or .keras file of the same model whose weights the network starts from, or "
        "preset:NAME, a trained network of the package; "
        "its heads start anew if the classes differ.",
    )

    dataset: str = setting(
        "digits",
        "digits (embedded, no download), cifar10, cifar100, tfds:NAME (another TFDS set with the "
        "features image and label), or folder:PATH (a folder of images per class).",
        parse=settings.parse_some,
        section="data",
    )
    data_dir: str = setting(
        "", "Where TFDS keeps its data sets; empty: TFDS's default.", identity=False
    )
    image_size: str = setting(
        "0",
        "Side in pixels the images are scaled to, or HEIGHTxWIDTH such as 24x32; 0: as the data "
        "set has them.",
        parse=settings.parse_size,
    )
    grey: bool = setting(False, "Images of one channel, grey, instead of three.")
    centre_crop: float = number(
        0.0,
        "Part of an image that is scaled: the middle with this share of the largest part of the "
        "new aspect ratio, such as 0.875; 0: the whole image, whose ratio is not kept.",
        at_most=1,
    )
    memory: str = setting(
        "",
        "Memory that pixels may take, such as 8GB; what needs more is read from its files batch by "
        "batch, with the same result. Empty: half of what is free.",
        parse=settings.parse_memory,
        identity=False,
    )
    skip_broken: int = number(
        0,
        "Images that may turn out to be broken: the next one stands for each, and result.json "
        "names them. One more ends the run.",
        identity=False,
    )
    train_examples: int = number(0, "Use a stratified part of the training images; 0: all.")
    test_examples: int = number(0, "Use a stratified part of the test images; 0: all.")
    validation: str = setting(
        "holdout:0.1",
        "What chooses the best epoch: holdout:5000 (images) or holdout:0.1 (share), stratified, "
        "taken from the training images and never augmented; or test, the paper's protocol.",
        parse=settings.parse_held_out,
    )

    method: str = setting(
        "ipkd_ta_m", f"Who teaches whom: {_METHOD_HELP}.", parse=_parse_method, section="method"
    )
    teacher: str = setting(
        "",
        "Frozen networks that teach as well, with commas between: a finished run such as "
        "runs/big/seed{seed} ({seed}: this run's), one of its sub-models (RUN:exit_3; else the "
        "largest), or a .keras file of a classification model.",
        parse=settings.parse_teachers,
    )
    teacher_dropout: int = number(0, "Teachers, drawn anew, that each training step does without.")
    distillation_weight: float = number(
        0.8, "Lambda: share of the teachers in a taught sub-model's loss.", at_most=1
    )
    distillation_ramp: float = number(
        0.0,
        "Share of the run's steps over which lambda rises from 0 to its value, such as 0.5; 0: no "
        "rise. It stretches when --epochs grows.",
        at_most=1,
    )
    label_weight: str = setting(
        "full",
        "What the labels weigh in a taught sub-model's loss: full (1; teaching comes on top) or, "
        "as in the paper, remaining (1 - lambda).",
        choices=("remaining", "full"),
    )
    temperature: float = number(5.0, "Temperature of the soft targets.", above=0)
    divergence: str = setting(
        "kl",
        "Distance to the soft targets: kl(teacher || student), ce, or reverse_kl.",
        choices=("kl", "ce", "reverse_kl"),
    )

    epochs: int = number(
        300,
        "Epochs to train; may grow when a run goes on (schedule=cosine then stretches).",
        at_least=1,
        section="optimizer",
    )
    batch_size: int = number(64, "Images per optimizer step, over all devices.", at_least=1)
    optimizer: str = setting(
        "sgd",
        "sgd, as PyTorch computes it; or one of Keras, whose weight decay is apart from the "
        "gradient.",
        choices=OPTIMIZERS,
    )
    optimizer_arguments: str = setting(
        "{}",
        'Further arguments of the optimizer as JSON, such as {"beta_2": 0.99}.',
        parse=settings.parse_object,
    )
    learning_rate: float = number(0.1, "Learning rate before any drop.", above=0)
    schedule: str = setting(
        "step",
        "Learning rate over time: step (multiplied by the drop factor at each drop), exponential "
        "(at each epoch), cosine or linear (to 0 at the last step), constant; or cosine_restarts, "
        "inverse_time, polynomial, as Keras computes them from schedule_arguments.",
        choices=(
            *("step", "exponential", "cosine", "linear", "constant"),
            *("cosine_restarts", "inverse_time", "polynomial"),
        ),
    )
    schedule_arguments: str = setting(
        "{}",
        "Arguments of these three as JSON, with epochs for Keras's steps, such as "
        '{"first_decay_epochs": 10, "t_mul": 2}.',
        parse=settings.parse_object,
    )
    learning_rate_drops: str = setting(
        "150,225",
        "Epochs, counted from 0, at whose start schedule=step drops the rate.",
        parse=settings.parse_epochs,
    )
    learning_rate_drop_factor: float = number(
        0.1, "The rate is multiplied by this at each drop.", above=0, at_most=1
    )
    warmup_epochs: int = number(0, "Epochs over which the rate first rises from 0.")
    momentum: float = number(0.9, "Momentum of SGD.", below=1)
    nesterov: bool = setting(False, "Nesterov's momentum.")
    weight_decay: float = number(1e-4, "Weight decay, as in PyTorch's SGD.")
    decay: str = setting(
        "all",
        "Which weights decay: all, or kernels (no batch normalisation, bias, depthwise kernel).",
        choices=("all", "kernels"),
    )
    clip_norm: float = number(
        0.0, "Longest global norm of the gradient over all devices; 0: any length."
    )
    ema: float = number(
        0.0,
        "Share of the old average kept at each step in a moving average of the weights, such as "
        "0.999, which is then what is evaluated and saved; 0: no average.",
        below=1,
    )
    early_stopping: int = number(
        0, "End after so many epochs without a better average accuracy in validation; 0: never."
    )
    class_weights: str = setting(
        "none",
        "Weight of an image in the loss: none, or balanced (all classes together count the same).",
        choices=("none", "balanced"),
    )
    seed: int = number(
        0,
        "Seed of initial weights, order and augmentation; the data split is the same for all.",
        at_most=2**31 - 1,
    )

    crop_padding: int = number(
        4,
        "Black pixels added on each side before the random crop; 0: no crop.",
        section="augmentation",
    )
    flip: bool = setting(True, "Mirror each training image with probability 1/2.")
    resized_crop: float = number(
        0.0,
        "Smallest share of the area of the random window that is taken from each training image "
        "and scaled to the image size, such as 0.08 for photographs; 0: no window.",
        at_most=1,
    )
    jitter: float = number(
        0.0,
        "Strength of random changes of brightness, contrast and saturation, such as 0.4; 0: none.",
        at_most=1,
    )
    rand_augment: int = number(
        0,
        "Operations of RandAugment on each training image, such as 2, drawn for each from fourteen "
        "(turned, sheared, posterized, equalized ...); 0: none.",
    )
    rand_augment_magnitude: float = number(
        9.0, "How strong these operations are: 0 to 30.", at_most=30
    )
    rotation: float = number(
        0.0, "Degrees by which training images are turned at most; 0: none.", at_most=180
    )
    cutout: int = number(
        0, "Side in pixels of a black square at a random place of each training image; 0: none."
    )
    mixup: float = number(
        0.0, "Alpha of mixup, images and labels mixed in pairs, such as 0.2; 0: none."
    )
    label_smoothing: float = number(
        0.0, "Share of a training label that is spread over all classes.", below=1
    )

    strategy: str = setting(
        "auto",
        "Devices: none (one), mirrored (all of this host), multi_worker (several hosts, listed in "
        "TF_CONFIG), auto (multi_worker if TF_CONFIG is set, mirrored if there are several GPUs).",
        choices=("auto", "none", "mirrored", "multi_worker"),
        section="machine",
    )
    synchronized_batch_normalization: bool = setting(
        True, "Under several devices, normalise with the statistics of all devices' images."
    )
    precision: str = setting(
        "float32",
        "Precision of the network's arithmetic; weights and loss are always float32.",
        choices=("float32", "mixed_bfloat16", "mixed_float16"),
    )
    jit: str = setting(
        "auto",
        "XLA compilation: on, off, or auto (on one GPU). Slows down networks on a CPU.",
        choices=("auto", "on", "off"),
    )
    deterministic: bool = setting(
        False,
        "Use only operations that repeat bit by bit, also on a GPU; slower, turns XLA off, and "
        "stays on for the rest of the process.",
    )

    name: str = setting(
        "",
        "Name of the run; empty: the flag file's, else made from settings.",
        identity=False,
        section="outputs",
    )
    workdir: str = setting("", "Where the outputs go; empty: runs/NAME/seedSEED.", identity=False)
    checkpoint_minutes: float = number(
        10.0,
        "Time between checkpoints inside an epoch; each epoch ends with one too.",
        identity=False,
    )
    tensorboard: bool = setting(
        False, "Write TensorBoard logs; needs the extra ipkd_tf[tensorboard].", identity=False
    )

    def __post_init__(self):
        if type(self.image_size) is int:  # in Python, and in results of earlier versions
            object.__setattr__(self, "image_size", str(self.image_size))
        for field in dataclasses.fields(self):
            settings.check(field, getattr(self, field.name))
        asks = self.method == "kd" or re.search(r"\bt\d", self.method)
        if bool(asks) != bool(self.teacher):
            raise ValueError(
                "teacher and method go together: kd, or t1 in a method such as 0:t1, asks for a "
                f"teacher. Received: method={self.method!r}, teacher={self.teacher!r}"
            )

    @property
    def constructor_arguments(self) -> dict:
        """Arguments for the family beyond those the data set decides, as a dict."""
        arguments = settings.parse_arguments(self.model_arguments)
        widths = settings.parse_widths(self.widths)
        return {**arguments, "widths": widths} if widths else arguments

    @property
    def size(self) -> tuple[int, int] | None:
        """(height, width) in pixels that images are scaled to; None: as the data set has them."""
        return settings.parse_size(self.image_size)

    @property
    def held_out(self) -> int | float | None:
        """Images (int) or share of them (float) held out for validation; None: the test split."""
        return settings.parse_held_out(self.validation)

    @property
    def drop_epochs(self) -> tuple[int, ...]:
        """Epochs, from 0, at which schedule=step drops the learning rate."""
        return settings.parse_epochs(self.learning_rate_drops)

    @property
    def teachers(self) -> tuple[tuple[str, str], ...]:
        """(path, name of the sub-model or "") of each outside teacher."""
        return settings.parse_teachers(self.teacher.replace("{seed}", str(self.seed)))

    @property
    def run_name(self) -> str:
        default = re.sub(r"[^\w.]+", "_", f"{self.model}_{self.dataset}_{self.method}").strip("_")
        name, end = self.name or default, f"_{self.submodel}" if self.submodel else ""
        return name.removesuffix(end) + end

    @property
    def output_dir(self) -> str:
        return self.workdir or os.path.join("runs", self.run_name, f"seed{self.seed}")
