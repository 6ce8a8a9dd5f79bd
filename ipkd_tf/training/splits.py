"""The images of an experiment: what trains, what chooses the best epoch, what tests."""

import dataclasses

from ipkd_tf import data
from ipkd_tf.output import counter
from ipkd_tf.training import settings


@dataclasses.dataclass(frozen=True)
class Splits:
    """The data set's facts, and the `Examples` of each part."""

    dataset: data.ImageDataset
    train: data.Examples
    validation: data.Examples
    test: data.Examples

    def steps_per_epoch(self, batch_size):
        return len(self.train) // batch_size

    def examples(self):
        """Number of images in each part."""
        return {name: len(getattr(self, name)) for name in ("train", "validation", "test")}

    def identity(self):
        """What tells these data from others: the examples, and the data set's digest."""
        return {**self.examples(), "digest": self.dataset.digest}


def check_same_data(there, here, where):
    """Raises ValueError unless the identity of what a run was trained with equals today's."""
    different = [name for name in here if there.get(name) != here[name]]
    if different:
        problem = "the data are not those the run was trained on"
        if different == ["teachers"]:
            problem = "the teachers are not those the run was taught by"
        raise ValueError(
            f"{problem}; restore them, or train anew in another --workdir. Received: "
            + ", ".join(f"{name}={here[name]} ({there.get(name)} there)" for name in different)
            + f", run={str(where)!r}"
        )


def read_splits(experiment):
    """Reads the data set and holds out the images that choose the best epoch.

    The parts are the same for every seed of the experiment, so seeds compare training alone.
    """
    dataset = data.read(
        experiment.dataset,
        data_dir=experiment.data_dir or None,
        image_size=experiment.size,
        grey=experiment.grey,
        train_examples=experiment.train_examples or None,
        test_examples=experiment.test_examples or None,
        centre_crop=experiment.centre_crop,
        memory=settings.parse_memory(experiment.memory),
        windows=experiment.resized_crop > 0,
        skip_broken=experiment.skip_broken,
        progress=counter.count("reading"),
    )
    if dataset.num_classes < 2:
        raise ValueError(
            f"Expected at least two classes; there is only {dataset.class_names[0]}. "
            f"Received: dataset={experiment.dataset!r}"
        )
    train, validation = dataset.train, dataset.test
    if (held_out := experiment.held_out) is not None:
        count = round(held_out * len(train)) if isinstance(held_out, float) else held_out
        if not 0 < count < len(train):
            raise ValueError(
                f"validation must hold out some, not all, of the {len(train)} training images; try "
                f"holdout:0.1. Received: validation={experiment.validation!r}"
            )
        train, validation = data.hold_out(train, count, seed=0, class_names=dataset.class_names)
    if len(train) < experiment.batch_size:
        raise ValueError(
            f"batch_size must be at most the {len(train)} training images. "
            f"Received: batch_size={experiment.batch_size}"
        )
    return Splits(dataset, train, validation, dataset.test)
