"""Independent networks, their predictions averaged, against the sub-models of flexible ones."""

import keras

from ipkd_tf import data
from ipkd_tf.models import flexible
from ipkd_tf.output import figures
from ipkd_tf.training import evaluation
from ipkd_tf.training.splits import check_same_data

_BATCH = 250


def combine(networks):
    """An anytime classifier: output m has the mean probabilities of the first m networks.

    Of flexible networks the largest sub-models count. Output m costs as much as m networks.

    Source: Huang et al., Multi-Scale Dense Networks, ICLR 2018, section 5, "ensembles".
    """
    image = keras.Input(networks[0].inputs[0].shape[1:], name="image")
    probabilities, outputs = [], []
    for number, network in enumerate(networks, 1):
        member = flexible.cut(network, -1)
        # Networks of one family bear the same name.
        member = keras.Model(member.inputs, member.outputs[0], name=f"member_{number}")
        probabilities.append(keras.layers.Softmax(dtype="float32")(member(image)))
        mean = keras.ops.mean(keras.ops.stack(probabilities), axis=0)
        outputs.append(keras.ops.log(keras.ops.maximum(mean, keras.config.epsilon())))
    return keras.Model(image, outputs, name="ensemble")


def evaluate(runs):
    """Rows of ensembles of the first 1, 2, ... runs, cheapest first, named by what each adds."""
    runs = sorted(runs, key=lambda run: run.rows[-1]["multiply_adds"])
    check_same_test_images(runs)
    test = data.evaluation(runs[0].splits.test, batch_size=_BATCH)
    rows = evaluation.evaluate(combine([run.network for run in runs]), test)
    names = [("+ " if number else "") + run.result["name"] for number, run in enumerate(runs)]
    return [{**row, "name": name} for row, name in zip(rows, names, strict=True)]


def check_same_test_images(runs):
    """Raises ValueError unless runs were tested on the same images."""
    first, *others = (
        {"test": run.result["examples"]["test"], "digest": run.result["data_digest"]}
        for run in runs
    )
    for other, run in zip(others, runs[1:], strict=True):
        check_same_data(other, first, run.directory)


def draw(rows, against):
    """Figure of test accuracy by multiply-adds: a line of `evaluate`, one for each flexible run."""
    lines = {"ensemble of independent networks": rows}
    lines |= {run.title: run.rows for run in against}
    figure, (axes,) = figures.figure(1, "Independent networks and one flexible network")
    for number, (label, points) in enumerate(lines.items()):
        figures.plot_accuracy(axes, points, **figures.style(number, len(lines), label))
    figures.log_scale(axes)
    axes.legend(fontsize="small")
    return figure
