"""Folders of models: where they are, what is in them, and how older ones are read.

A model is ``config.json`` and ``model.safetensors``, the names that Hugging Face's hub uses. The
configuration has the ``format``, the ``stft``, ``sample_rate`` in Hz and names of ``targets`` (null
where the number of sources is free), and how the ``estimator`` and the ``inversion`` are made.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from phaserec._files import read_settings, write_files
from unfolded.checkpoints import WEIGHTS, read_state, write_state
from unfolded.layers import format1

FORMAT = 2
"""Version of the configuration that is written; all up to it are read."""

DEFAULT_MODEL = "speech-enhancement"
"""Name of the model that is used where none is named."""

_CONFIG = "config.json"
_ESTIMATOR, _INVERSION = "estimator.", "inversion."
# Models that ship, a folder each.
_SHIPPED = Path(__file__).parent / "pretrained"


def shipped_models() -> list[str]:
    """Names of the models that ship with the package, for :meth:`Separator.from_pretrained`.

    Returns
    -------
    list of str
        Names, sorted.
    """
    return sorted(path.parent.name for path in _SHIPPED.glob(f"*/{_CONFIG}"))


def model_folder(folder: Any) -> Path:
    """Folder of a model, or of one that ships with the package, by its name.

    Parameters
    ----------
    folder : str or path
        As for :meth:`unfolded.Separator.from_pretrained`.

    Returns
    -------
    Path
        The folder, which need not exist.
    """
    shipped = not Path(folder).exists() and str(folder) in shipped_models()
    return _SHIPPED / folder if shipped else Path(folder)


def model_files(folder: Any) -> list[Path]:
    """Files that make a model.

    Parameters
    ----------
    folder : str or path
        As for :func:`model_folder`.

    Returns
    -------
    list of Path
        Configuration and weights.
    """
    return [model_folder(folder) / name for name in (_CONFIG, WEIGHTS)]


def write_model(folder: Any, config: Mapping[str, Any], state: Mapping[str, Tensor]) -> None:
    """Write a model, each file under a temporary name that is then changed.

    Parameters
    ----------
    folder : str or path
        Folder; made if it does not exist.
    config : dict
        The configuration.
    state : dict of str to Tensor
        The weights.

    Raises
    ------
    ValueError
        If the configuration is not JSON, or the state is not tensors.
    """
    folder = Path(folder)
    try:
        text = json.dumps(config, indent=2, allow_nan=False) + "\n"
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(
            f"a model cannot be saved with arguments that JSON does not hold: {error}; derive no "
            "class from unfolded.Described whose arguments are other things"
        ) from None
    write_state(state, folder / WEIGHTS)
    write_files([folder / _CONFIG], [text.encode()])


def read_config(path: Path) -> dict[str, Any]:
    """Read a configuration.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    dict
        What the file holds, in whatever format.

    Raises
    ------
    ValueError
        If the file does not exist or is no JSON object.
    """
    if not path.is_file():
        raise ValueError(
            f"configuration {str(path)!r} does not exist; models that ship: "
            f"{', '.join(shipped_models())}"
        )
    content = read_settings(path)
    try:
        config = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"configuration {str(path)!r} is no JSON: {error}") from None
    if not isinstance(config, dict):
        raise ValueError(f"configuration {str(path)!r} is not a JSON object")
    return config


def upgraded_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Configuration of any format as one of :data:`FORMAT`.

    Parameters
    ----------
    config : dict
        As :func:`read_config` gives it.

    Returns
    -------
    dict
        The configuration.

    Raises
    ------
    ValueError, KeyError, TypeError
        If the format is unknown, or the configuration is not one of its format.
    """
    if config["format"] == FORMAT:
        return dict(config)
    if config["format"] != 1:
        raise ValueError(f"format {config['format']!r} is not 1 to {FORMAT}")
    arguments = dict(config["magnitude_network"])
    kind = arguments.pop("type")
    stft = config["stft"]
    if "n_fft" in arguments and arguments["n_fft"] != stft["n_fft"]:
        raise ValueError(
            f"n_fft={stft['n_fft']!r} is not that of the estimator, {arguments['n_fft']!r}"
        )
    arguments.pop("n_fft", None)
    arguments["stft"] = {"STFT": stft}
    if kind == "gru":
        arguments["norm"] = "frame"
    layers = config["inversion"]
    return {
        "format": FORMAT,
        "stft": stft,
        "sample_rate": config["sample_rate"],
        "targets": config["targets"],
        # Magnitudes that are given at each call need no estimator.
        "estimator": None if kind == "external" else {"class": kind, "arguments": arguments},
        "inversion": None if layers is None else format1.upgraded(layers, stft["n_fft"]),
    }


def upgraded_state(state: Mapping[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    """Weights of any format by the names of :data:`FORMAT`.

    Parameters
    ----------
    state : dict of str to Tensor
        Weights by name.
    config : dict
        The configuration beside them, in its own format and complete.

    Returns
    -------
    dict of str to Tensor
        Weights by name.
    """
    if config["format"] == FORMAT:
        return dict(state)
    found = {
        _ESTIMATOR + key.removeprefix("magnitude_network."): tensor
        for key, tensor in state.items()
        if not key.startswith(_INVERSION)
    }
    layers = {
        key.removeprefix(_INVERSION): tensor
        for key, tensor in state.items()
        if key.startswith(_INVERSION)
    }
    if config["inversion"] is not None:
        layers = format1.upgraded_state(layers, config["inversion"])
    return found | {_INVERSION + key: tensor for key, tensor in layers.items()}


def check_layers(config: Mapping[str, Any], state: Mapping[str, Tensor], name: str) -> None:
    """Find what is of other layers before any are made, which can take long.

    Parameters
    ----------
    config : dict
        The configuration, of any format; nothing in it is taken for granted.
    state : dict of str to Tensor
        Weights by name.
    name : str
        What the weights are, for the message.

    Raises
    ------
    ValueError
        If more layers are described than there are weights for.
    """
    numbered = (re.match(r"inversion\.(?:layers|correction)\.(\d+)\.", key) for key in state)
    found = {match[1] for match in numbered if match}
    layers = config.get("inversion")
    layers = layers if isinstance(layers, Mapping) else {}
    told = layers.get("n_layers")
    if found and isinstance(told, int) and told > len(found) and not layers.get("tied"):
        raise ValueError(
            f"checkpoint {name!r} is of another architecture: it has weights of {len(found)} "
            f"layers, not n_layers={told}"
        )


def read_weights(folder: Any) -> dict[str, Tensor]:
    """Read the weights of a model of any format.

    Parameters
    ----------
    folder : str or path
        As for :func:`model_folder`.

    Returns
    -------
    dict of str to Tensor
        Weights on the CPU, by name: ``estimator.…`` and ``inversion.…``.

    Raises
    ------
    ValueError
        If a file is missing or damaged.
    """
    config_file, weights_file = model_files(folder)
    config = read_config(config_file)
    try:
        upgraded_config(config)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{str(config_file)!r} is no configuration of a separator") from error
    return upgraded_state(read_state(weights_file), config)
