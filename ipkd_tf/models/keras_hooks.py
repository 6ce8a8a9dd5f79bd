"""Every private name of Keras and TensorFlow that this package leans on, and the check of both.

Each has a test in tests/models/test_keras_hooks.py that fails when it is gone or means another
thing: an override that nobody calls any more would fail in silence.
"""

try:
    import keras
except ImportError as error:
    raise ImportError(
        "ipkd_tf runs on Keras with TensorFlow: set KERAS_BACKEND=tensorflow. "
        f"Received: a backend that is not installed ({error})"
    ) from error

_SETUP = {"backend": "tensorflow", "image_data_format": "channels_last", "floatx": "float32"}


def check_setup():
    """Raises ImportError unless Keras is set up as the package needs it."""
    for setting, expected in _SETUP.items():
        value = getattr(keras.config, setting)()
        if value != expected:
            raise ImportError(
                f"ipkd_tf needs {setting} {expected}; set it by KERAS_BACKEND or in "
                f"~/.keras/keras.json. Received: {setting}={value!r}"
            )


def flatten_layers(layer):
    """Yields a layer and all layers inside it, at any depth."""
    return layer._flatten_layers()


def producer(tensor):
    """Returns the operation that made a symbolic tensor, and which of its outputs that is."""
    history = tensor._keras_history
    return history.operation, history.tensor_index


def load_error_cause(error):
    """The first line of what Keras's loading says after a page of configuration."""
    return str(error).rpartition("Exception encountered:")[-1].strip().partition("\n")[0]
