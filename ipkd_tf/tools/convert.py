"""Converts weights of PyTorch programs to networks of ours, and back.

  python -m ipkd_tf convert --input=model_best.pth.tar --output=msdnet.keras --model=msdnet \\
      --model_arguments='{"num_classes": 100, "mean": [0.5071, 0.4867, 0.4408], "std": [...]}'
  python -m ipkd_tf convert --input=runs/quickstart/seed0/best.keras --output=msdnet.pth

The programs are kalviny/MSDNet-PyTorch and JiahuiYu/slimmable_networks (MobileNet-V1, slimmable
and universally slimmable). Of a PyTorch file tensors alone are read: no code in it runs.
"""

import json
import pathlib
from pickle import UnpicklingError

from absl import flags

from ipkd_tf.output.checks import check, explained, require
from ipkd_tf.tools import command

FLAGS = flags.FLAGS
_KEYS = ("state_dict", "model")  # under which the programs keep the weights in a checkpoint


def define_flags(values=flags.FLAGS):
    define = command.definer(values)
    define("input", str, "A .keras file of ours, or else a file of PyTorch's.", required=True)
    define("output", str, "The file to write; one that is there is replaced.", required=True)
    define("model", "", "For a file of PyTorch's: our network, such as msdnet.")
    define(
        "model_arguments",
        "{}",
        "JSON object of our network's arguments, such as num_classes, widths, and the mean and std "
        "that the program normalised images with.",
    )


def main():
    """Reads the one kind of file, writes the other, and says how much went over."""
    require("torch", extra="convert")
    to_torch = pathlib.Path(FLAGS.input).suffix == ".keras"
    if to_torch is (pathlib.Path(FLAGS.output).suffix == ".keras"):
        raise ValueError(
            "Expected one .keras file, as input or as output. "
            f"Received: input={FLAGS.input!r}, output={FLAGS.output!r}"
        )
    expected = "model=NAME for a file of PyTorch's, and for no other"
    check(to_torch is not bool(FLAGS.model), expected, input=FLAGS.input, model=FLAGS.model)
    command.start_tensorflow()
    count = _write_torch() if to_torch else _write_keras()
    print(f"{FLAGS.output}: {count} tensors")


def _write_torch():
    import torch

    from ipkd_tf import models
    from ipkd_tf.models import pytorch
    from ipkd_tf.output import files

    network = models.load(FLAGS.input)
    state = pytorch.state_dict(network)
    tensors = {f"module.{name}": torch.tensor(value) for name, value in state.items()}
    key = _KEYS[0] if isinstance(network, models.MSDNet) else _KEYS[1]
    with files.replacing(FLAGS.output) as aside:
        torch.save({key: tensors}, aside)
    return len(tensors)


def _write_keras():
    from ipkd_tf import models
    from ipkd_tf.models import pytorch
    from ipkd_tf.output import files

    received = {"model_arguments": FLAGS.model_arguments}
    with explained((ValueError, TypeError), "a JSON object", **received):
        arguments = {**json.loads(FLAGS.model_arguments)}
    network = models.from_preset(FLAGS.model, **arguments)
    state = _read_tensors(FLAGS.input)
    pytorch.load_state_dict(network, state)
    with files.replacing(FLAGS.output) as aside:
        network.save(aside)
    return len(state)


def _read_tensors(path):
    """The named tensors in a file of PyTorch's, as numpy arrays."""
    import torch

    expected = "a file of torch.save with named tensors, and nothing that would have to run; if "
    expected += "you trust it, open it in its program and save model.state_dict() alone"
    # A file that holds something else fails in many ways.
    damage = (UnpicklingError, RuntimeError, EOFError, AttributeError, TypeError)
    with explained(damage, expected, input=path):
        content = torch.load(path, map_location="cpu", weights_only=True)
        content = next((content[key] for key in _KEYS if key in content), content)
        return {name: tensor.float().numpy() for name, tensor in content.items()}


if __name__ == "__main__":
    command.start(define_flags, main)
