"""One inversion of many: a function of an entry of a corpus that can be pickled."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from phaserec._files import distinct
from phaserec._typing import Value
from phaserec._xp import to_numpy
from phaserec.algorithms import Algorithm, configure
from phaserec.commands.inputs import Inputs, check_mixing, load, typed_transform
from phaserec.commands.options import Beginning, Signals, Transform
from phaserec.commands.recovering import Recipe, document, encoded, scores
from phaserec.corpus.entries import Entry
from phaserec.corpus.tasks import Made
from phaserec.solving import KERNEL
from phaserec.stft import STFT

# Name of the one source of a recording by itself.
_ALONE = "recording"


@dataclass(frozen=True)
class InvertItem:
    """Recover the phases of an entry of a corpus, as ``phaserec invert`` does.

    With :class:`phaserec.corpus.Task` around it, it is what Ray, Spark or Beam call.

    Parameters
    ----------
    algorithm : str or Algorithm
        Name of the algorithm; one of one's own as it is registered, which is pickled by the name
        of its module.
    n_iter : int, default 20
        Number of iterations.
    hyper : mapping of str to Value
        Its hyper-parameters, and momentum.
    stft : STFT
        The transform, where a file of magnitudes does not say otherwise.
    init : str, optional
        The start, as ``--init`` names it.
    seed : int, default 0
        Seed of random phases, the same for every entry.
    device : str, default "cpu"
        The device.
    machine : {"kernel", "arrays"}
        What runs on a cpu: the kernel wherever it can be. It does not depend on what has been
        compiled, so that results do not.
    subtype : str, optional
        Sample format of the files.
    typed : mapping of str to object
        Settings of the transform that come before what a file of magnitudes says: ``n_fft``,
        ``hop_length``, ``win_length``, ``window``, ``pad_mode``.

    Raises
    ------
    ValueError
        If the algorithm or a hyper-parameter is not known or out of range.

    Examples
    --------
    >>> from phaserec import InvertItem
    >>> InvertItem("misi", 10).settings["algorithm"]
    'misi'
    """

    algorithm: str | Algorithm = "aux"
    n_iter: int = 20
    hyper: Mapping[str, Value] = field(default_factory=dict)
    stft: STFT = field(default_factory=STFT)
    init: str | None = None
    seed: int = 0
    device: str = "cpu"
    machine: str = KERNEL
    subtype: str | None = None
    typed: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._recipe  # noqa: B018  what is wrong is told at once

    def __getstate__(self) -> dict[str, Any]:
        # What is made of the settings has functions that cannot be pickled.
        return {each.name: getattr(self, each.name) for each in fields(self)}

    @cached_property
    def _recipe(self) -> Recipe:
        chosen = configure(self.algorithm, dict(self.hyper))
        options = {name: getattr(self, name) for name in Beginning.names()}
        return Recipe(chosen, self.n_iter, Beginning(options), self.seed, None)

    @cached_property
    def _chosen(self) -> Transform:
        return Transform(dict.fromkeys(Transform.names()) | dict(self.typed))

    @cached_property
    def _transform(self) -> STFT:
        return typed_transform(self._chosen, self.stft)

    @property
    def settings(self) -> dict[str, object]:
        """All that a result depends on beside its entry, as JSON has it."""
        algorithm = self._recipe.algorithm
        plain = (int, float, str, type(None))
        return {
            "algorithm": algorithm.base.name,
            "hyper": {
                name: value if isinstance(value, plain) else to_numpy(value).tolist()
                for name, value in algorithm.values.items()
            },
            "stft": self.stft.settings,
            "typed": dict(self.typed),
            **{
                name: getattr(self, name)
                for name in ("n_iter", "init", "seed", "device", "machine", "subtype")
            },
        }

    def __call__(self, entry: Entry) -> Made:
        """Read an entry and recover its phases.

        Parameters
        ----------
        entry : Entry
            The entry.

        Returns
        -------
        Made
            A WAV file ``ENTRY/SOURCE.wav`` for each source, and what was done.

        Raises
        ------
        ValueError, OSError
            If its files cannot be read or do not agree.
        """
        given = self._inputs(entry)
        recipe = self._recipe
        check_mixing([recipe.algorithm], given)
        run = recipe.prepared(given)
        waveforms = to_numpy(run.result())
        columns: dict[str, np.ndarray] = {}
        if given.references is not None:
            columns = scores(given, recipe.before(run), waveforms)
        targets = [Path(entry.name) / f"{name}.wav" for name in distinct(given.names)]
        names = [target.as_posix() for target in targets]
        contents = encoded(waveforms, given.rate, targets, self.subtype)
        files = dict(zip(names, contents, strict=True))
        return Made(files, document(recipe, run, given, targets, columns))

    def _inputs(self, entry: Entry) -> Inputs:
        if entry.magnitudes is not None:
            return self._magnitudes(entry)
        stft = self._transform
        whole = entry.read()
        if entry.alone:
            waves = whole.samples[:, None]
            names, mixture, length = [_ALONE], None, waves.shape[-1]
        else:
            names, waves = entry.sources(entry.estimates, whole)
            mixture, length = whole.samples, None
        truth = entry.sources(entry.references, whole)[1] if entry.references else None
        V = np.abs(stft(waves))
        return Inputs(entry.name, names, V, mixture, waves, truth, whole.rate, length, stft)

    def _magnitudes(self, entry: Entry) -> Inputs:
        options = dict.fromkeys(Signals.names()) | {
            "mixture": None if entry.recording is None else str(entry.recording),
            "magnitudes": str(entry.magnitudes),
            "estimates": [],
            "references": [str(path) for path in entry.references.values()],
            "remainder": False,
        }
        return load(Signals(options), self._chosen, transform=self.stft)
