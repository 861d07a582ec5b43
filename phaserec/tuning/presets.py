"""Presets: the settings of an inversion in a small JSON file, and what they were tuned on.

The tuning's validation files are kept as fingerprints of their content, so that an evaluation can
prove that it uses none of them, see :func:`overlap`.
"""

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from phaserec import audio
from phaserec._files import read_settings, write_files
from phaserec._xp import as_int
from phaserec.algorithms import configure, resolve
from phaserec.corpus.fingerprints import Fingerprint, fingerprint, overlaps
from phaserec.stft import STFT

_KIND = "phaserec preset"
_FORMAT = 1
# Landmarks kept of each channel: enough to find a fifth of it or more, and small.
_LANDMARKS = 32


@dataclass(frozen=True)
class Preset:
    """Settings of an inversion.

    Attributes
    ----------
    algorithm : str
        Name.
    n_iter : int
        Number of iterations.
    hyper : dict
        Hyper-parameters.
    stft : STFT
        The transform.
    tuning : dict
        How the settings were found: JSON values. Under ``"files"`` is what :func:`describe_files`
        gives.
    """

    algorithm: str
    n_iter: int
    hyper: dict[str, Any]
    stft: STFT
    tuning: dict[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "algorithm", resolve(self.algorithm).name)
        as_int("n_iter", self.n_iter, 0)
        configure(self.algorithm, self.hyper)


def text(preset: Preset) -> str:
    """A preset as JSON, which :func:`read` takes from a file.

    Parameters
    ----------
    preset : Preset
        What to write.

    Returns
    -------
    str
        Contents of the file.
    """
    contents = {
        "kind": _KIND,
        "format": _FORMAT,
        "algorithm": preset.algorithm,
        "n_iter": preset.n_iter,
        "hyper": preset.hyper,
        "stft": preset.stft.settings,
        "tuning": preset.tuning,
    }
    written = json.dumps(contents, indent=2, ensure_ascii=False)
    # Lists of numbers on one line each; a line break in JSON is never part of a string.
    return re.sub(r"\[\n[^\[\]{}\"]*\]", lambda m: " ".join(m[0].split()), written) + "\n"


def write(path: str | os.PathLike, preset: Preset) -> None:
    """Write a preset, under a temporary name first.

    Parameters
    ----------
    path : str or path
        File, usually ``.json``.
    preset : Preset
        What to write.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    write_files([Path(path)], [text(preset).encode()])


def read(path: str | os.PathLike) -> Preset:
    """Read a preset.

    Parameters
    ----------
    path : str or path
        File that :func:`write` wrote, or one written by hand with its keys; ``tuning`` may be
        left out.

    Returns
    -------
    Preset
        Valid settings.

    Raises
    ------
    ValueError
        If the file is no preset, is damaged, is of another format or names an unknown algorithm
        or hyper-parameter.
    OSError
        If it cannot be read.
    """
    name = os.fspath(path)
    if not os.path.exists(name):
        raise FileNotFoundError(f"{name}: no such file")
    content = read_settings(path)
    try:
        contents = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name} is no preset: {error}") from None
    if not isinstance(contents, dict) or contents.get("kind") != _KIND:
        raise ValueError(f'{name} is no preset: it has no "kind": "{_KIND}"')
    if contents.get("format") != _FORMAT:
        raise ValueError(
            f"{name} is a preset of format {contents.get('format')!r}; this version of phaserec "
            f"reads format {_FORMAT}"
        )
    try:
        transform = dict(contents["stft"])
        if isinstance(transform.get("window"), list):
            transform["window"] = tuple(transform["window"])
        tuning = contents.get("tuning", {})
        if not isinstance(tuning, dict):
            raise ValueError("tuning is not an object")
        return Preset(
            contents["algorithm"],
            contents["n_iter"],
            dict(contents["hyper"]),
            STFT(**transform),
            tuning,
        )
    except KeyError as error:
        raise ValueError(f"{name} is a damaged preset: it has no {error}") from None
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{name} is a damaged preset: {error}") from None


def describe_files(files: Mapping[str, Iterable[Fingerprint]]) -> dict[str, list[dict[str, str]]]:
    """Content of files as JSON, for ``tuning["files"]``.

    Parameters
    ----------
    files : mapping of str to iterable of Fingerprint
        Channels of each file by its name.

    Returns
    -------
    dict
        Digest and up to 32 landmarks of each channel, by name.
    """
    return {
        name: [
            {
                "digest": channel.digest,
                "landmarks": " ".join(f"{m:x}" for m in channel.sketch(_LANDMARKS).landmarks),
            }
            for channel in channels
        ]
        for name, channels in files.items()
    }


def overlap(preset: Preset, files: Iterable[str | os.PathLike]) -> list[tuple[str, str]]:
    """Audio files that hold something the preset was tuned on.

    Parameters
    ----------
    preset : Preset
        A preset of ``phaserec tune``.
    files : iterable of str or path
        Audio files of an evaluation.

    Returns
    -------
    list of tuple of str
        Pairs of a validation file, as the preset names it, and one of ``files`` that equals it or
        shares an excerpt with it; empty for disjoint sets.

    Raises
    ------
    ValueError
        If the preset holds no fingerprints, or a file cannot be read.
    OSError
        If a file cannot be opened.
    """
    try:
        known = {
            name: [
                Fingerprint(
                    channel["digest"], tuple(int(m, 16) for m in channel["landmarks"].split())
                )
                for channel in channels
            ]
            for name, channels in preset.tuning["files"].items()
        }
    except (KeyError, TypeError, ValueError, AttributeError):
        raise ValueError(
            "the preset holds no fingerprints of its validation files, so nothing can be said of "
            "what it was tuned on; make it with `phaserec tune`"
        ) from None
    found = {os.fspath(path): fingerprint(audio.read(path).samples) for path in files}
    return overlaps(known, found)
