"""What a benchmark runs over."""

import dataclasses

from benchmarks.workload import Workload


@dataclasses.dataclass(frozen=True)
class Settings:
    """What a benchmark runs over, and how often.

    Attributes:
        models: names or import paths of networks.
        batch_sizes: images per step, one number for each model.
        methods: training methods; ratios are against `none`.
        num_classes: classes of the networks.
        image_size: height and width of the images, pixels.
        repeats: timed rounds over the cases.
        steps: steps, or calls, that make one sample.
        precision, jit_compile, steps_per_execution: see `Workload`.
        intra_op_threads, inter_op_threads: TensorFlow's threads; 0 leaves the choice to it.
        process_repeats: rounds where each sample takes a process of its own: starts, growth
            and peers.
        quick: fewer points on the growth curves.
        peer: command that prints one JSON line with `images_per_s`, see `peer.measure`.
        peer_models: the peer's names of models, where they differ from ours.
    """

    models: tuple = ("msdnet", "slimmable_mobilenet_v1")
    batch_sizes: tuple = (64, 128)
    methods: tuple = ("none", "ipkd", "ipkd_ta_1", "ipkd_ta_m")
    num_classes: int = 10
    image_size: int = 32
    repeats: int = 5
    steps: int = 5
    precision: str = "float32"
    jit_compile: str = "auto"
    steps_per_execution: int = 1
    intra_op_threads: int = 0
    inter_op_threads: int = 0
    process_repeats: int = 1
    quick: bool = False
    peer: str = ""
    peer_models: dict = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        if not self.methods:
            raise ValueError(f"Expected at least one method. Received: methods={self.methods}")
        if not self.models or len(self.models) != len(self.batch_sizes):
            raise ValueError(
                "Expected one batch size for each model. "
                f"Received: models={self.models}, batch_sizes={self.batch_sizes}"
            )
        for name in ("num_classes", "image_size", "repeats", "steps", "process_repeats"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"Expected a whole number >= 1. Received: {name}={getattr(self, name)}"
                )
        if min(self.batch_sizes) < 1:
            raise ValueError(f"Expected batches >= 1. Received: batch_sizes={self.batch_sizes}")

    @property
    def threads(self):
        return self.intra_op_threads, self.inter_op_threads

    def workload(self, model, batch_size, method="ipkd_ta_m", **changes):
        """The `Workload` of one case."""
        workload = Workload(
            model=model,
            method=method,
            batch_size=batch_size,
            num_classes=self.num_classes,
            image_size=self.image_size,
            precision=self.precision,
            jit_compile=self.jit_compile,
            steps_per_execution=self.steps_per_execution,
        )
        return dataclasses.replace(workload, **changes)

    def workloads(self, methods=None):
        """The workloads of every model and method."""
        return [
            self.workload(model, batch_size, method)
            for model, batch_size in zip(self.models, self.batch_sizes, strict=True)
            for method in (self.methods if methods is None else methods)
        ]
