"""Opening a saved network, with errors that say what is wrong with the file."""

import pathlib
import zipfile

import keras


def load(path):
    """Loads a network that was saved as a .keras file, with Keras's safe mode on.

    A family of your own must be imported before, so that Keras knows its class.

    Args:
        path: The file, such as `runs/quickstart/seed0/best.keras`.

    Returns:
        The network, not compiled.

    Raises:
        ValueError: There is no such file, it is damaged or no .keras file, or Keras does not know
            a class in it.

    Example:
        >>> network = load("runs/quickstart/seed0/best.keras")
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise ValueError(f"Expected a .keras file, found none. Received: path={str(path)!r}")
    if not zipfile.is_zipfile(path):
        raise ValueError(
            "Expected a whole .keras file; this one is cut off or of another kind: copy it again. "
            f"Received: path={str(path)!r}"
        )
    try:
        return keras.models.load_model(path, compile=False)
    # A damaged file shows in many ways: as a bad archive, bad JSON, missing weights.
    except Exception as error:
        # Keras puts the cause behind a page of configuration.
        cause = str(error).rpartition("Exception encountered:")[-1]
        reason = cause.strip().partition("\n")[0]
        raise ValueError(
            "Expected a whole .keras file of classes that are imported; copy it again, or import "
            f"the module of your own family before ({type(error).__name__}: {reason[:200]}). "
            f"Received: path={str(path)!r}"
        ) from error
