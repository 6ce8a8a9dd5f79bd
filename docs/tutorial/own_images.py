"""
Title: From your own images to a file on a device
Author: the maintainers of ipkd_tf
Date created: 2026/11/24
Last modified: 2026/11/24
Description: Train one network with four exits on a folder, and ship the exit a budget allows.
Accelerator: None
"""

"""
## What comes out

One network is trained once. It has four exits, from small to large, and each is a classifier by
itself: the larger ones teach the smaller ones while all are trained. At the end you have two files
that run without this package and without TensorFlow: the best exit within a budget, and a
classifier that stops computing as soon as it is sure.

It takes about a minute on two CPU cores and downloads nothing. It needs
`pip install 'ipkd_tf[export]'`, in which LiteRT is. `pip install jupytext` and
`jupytext --from py:sphinx --to ipynb docs/tutorial/own_images.py` make a notebook of it.
"""

import pathlib

import keras
import numpy as np
from ai_edge_litert.interpreter import Interpreter
from matplotlib import pyplot
from PIL import Image
from sklearn import datasets

import ipkd_tf
from ipkd_tf import early_exit
from ipkd_tf.deployment import budget
from ipkd_tf.training import summary

keras.utils.set_random_seed(0)
work = pathlib.Path("tutorial")

"""
## A folder of images

A folder for each class, with image files in it: that is all there is to prepare. Put your own in
place of these, which are scikit-learn's 1,797 handwritten digits written as PNG files.
"""

digits = datasets.load_digits()
for number, (pixels, label) in enumerate(zip(digits.images, digits.target, strict=True)):
    folder = work / "images" / f"digit_{label}"
    folder.mkdir(parents=True, exist_ok=True)
    shades = np.uint8(255 * pixels / 16)
    Image.fromarray(shades).save(folder / f"{number}.png")

"""
Reading scales them to one size, and sets a fixed fifth of each class aside as test images. Of the
others we hold some out, too: on those we choose, and the test images only say how well we chose.
"""

dataset = ipkd_tf.data.read(f"folder:{work / 'images'}", image_size=16)
train, held_out = ipkd_tf.data.hold_out(dataset.train, 200, seed=0, class_names=dataset.class_names)
print(len(train), "to train,", len(held_out), "held out,", len(dataset.test), "to test")
print("classes:", ", ".join(dataset.class_names))

"""
## One network, four exits

A small MSDNet. Normalisation is part of the network, so it takes pixels from 0 to 255, here and
later on the device.
"""

network = ipkd_tf.models.from_preset(
    "msdnet_small",
    num_classes=dataset.num_classes,
    image_size=16,
    mean=dataset.mean,
    std=dataset.std,
)
for name in network.submodel_names:
    print(name, ipkd_tf.models.cost.of_submodel(network, name))

"""
## Training

`InplaceDistiller` is a Keras model around the network. With `ipkd_ta_m` each exit learns from the
labels and from the average of all larger exits; `none` would train them by the labels alone. On
few images a temperature of 1 is better than the paper's 5.
"""

distiller = ipkd_tf.InplaceDistiller(network, teachers="ipkd_ta_m", temperature=1.0)
epochs, batch_size = 12, 32
steps = len(train) // batch_size
rate = keras.optimizers.schedules.CosineDecay(0.05, epochs * steps)
distiller.compile(optimizer=ipkd_tf.optimizers.SGD(rate, momentum=0.9, nesterov=True))
history = distiller.fit(
    ipkd_tf.data.training(
        train,
        batch_size=batch_size,
        augmentation=ipkd_tf.data.Augmentation(crop_padding=2, flip=False),
    ),
    steps_per_epoch=steps,
    shuffle=False,  # It is already.
    validation_data=ipkd_tf.data.evaluation(held_out, batch_size=200),
    epochs=epochs,
    verbose=0,
)
for epoch, accuracy in enumerate(history.history["val_avg_accuracy"], 1):
    print(f"epoch {epoch}: held-out accuracy {accuracy:.2%}, mean of the exits")

"""
## The trade-off

Each exit is a point: what it costs, and what it reaches on the images that were held out.
"""

rows = ipkd_tf.evaluation.evaluate(network, ipkd_tf.data.evaluation(held_out, batch_size=200))
print(summary.score_table("Held-out images", rows))

figure, axes = pyplot.subplots(figsize=(5, 3.5), layout="constrained")
cost = [row["multiply_adds"] / 1e6 for row in rows]
axes.plot(cost, [100 * row["accuracy"] for row in rows], "o-")
axes.set(xlabel="multiply-adds (millions)", ylabel="held-out accuracy (%)")
figure.savefig(work / "trade_off.png")

"""
## Pick by a budget

A device that can spend two million multiply-adds on an image gets the most accurate exit within
them. (`500k parameters` is a budget, too. Bytes and milliseconds depend on the file format, and
`python -m ipkd_tf export --budget=2ms` measures them.)
"""

chosen = budget.choose(rows, budget.Budget.parse("2M"))
print("within 2 million multiply-adds:", chosen["name"])

"""
The exit is cut out of the network: a plain Keras model, physically smaller, with the same answers.
"""

small = network.submodel(chosen["name"])
print(f"{small.count_params():,} parameters of the network's {network.count_params():,}")

"""
## Ship it

`export_submodel` writes the files, opens each with its own runtime and compares it with the network
on test images before it counts. `litert_int8` computes in whole numbers; training images tell it
how large the activations become.
"""

sample = ipkd_tf.data.draw(train.labels, 200)
manifest = ipkd_tf.export.export_submodel(
    network,
    chosen["name"],
    work / "shipped",
    formats=["litert", "litert_int8"],
    images=dataset.test.images(),
    labels=dataset.test.labels,
    calibration_images=train.images(sample),
    class_names=dataset.class_names,
    overwrite=True,
)
for name, entry in manifest["formats"].items():
    (check,) = entry["checks"]
    print(f"{name}: {entry['bytes']:,} bytes, test accuracy {check['accuracy']:.2%}")

"""
On the device nothing else is needed than LiteRT:
"""

model = Interpreter(str(work / "shipped" / "model.tflite"))
run = model.get_signature_runner(chosen["name"])
some = ipkd_tf.data.draw(dataset.test.labels, 5)
answers = run(image=dataset.test.images(some))
print("says:", [dataset.class_names[k] for k in answers["class_id"]])
print("is:  ", [dataset.class_names[k] for k in dataset.test.labels[some]])

"""
## Stop when the answer is sure

Most images are easy. Instead of one exit for all, let each image leave at the first exit that is
sure enough. The thresholds are fitted on the held-out images for a mean cost per image.
"""


def predict(examples):
    logits = network.predict(ipkd_tf.data.evaluation(examples, batch_size=200), verbose=0)
    return logits, examples.labels


study = early_exit.fit(network, predict(held_out), predict(dataset.test))
smallest, largest = study.costs.straight[0], study.costs.straight[-1]
_, outcome = study.within((smallest + largest) / 2)
print(f"test accuracy {outcome.accuracy:.2%} at {outcome.cost / 1e6:.2f} million multiply-adds")
for name, share in zip(study.names, outcome.shares, strict=True):
    print(f"  {share:.1%} of the images leave at {name}")

"""
The files are one for each stage, and `runner.py`, which chains them with NumPy. `StageRunner` is
what is in it.
"""

classify = early_exit.EarlyExitClassifier(
    network, outcome.thresholds, study.confidence, study.temperatures
)
agreement = early_exit.export(classify, work / "early_exit", "litert", dataset.test, outcome.exits)
print(f"{agreement:.1%} of the test images leave where they should")
runner = early_exit.StageRunner(work / "early_exit")
answers = runner(dataset.test.images(some))
for class_id, exit in zip(answers["class_id"], answers["exit"], strict=True):
    print(f"{dataset.class_names[class_id]}, by {study.names[exit]}")

"""
## Where to go on

The same from the command line, with runs that go on where they were interrupted, pictures and
reports: `python -m ipkd_tf train --dataset=folder:tutorial/images`, then `export`, `adapt` and
`classify` ([data](../data.md), [export](../export.md), [early exit](../early_exit.md)). Other
families of networks have widths, leaves or precisions in place of exits:
[concepts](../concepts.md).
"""
