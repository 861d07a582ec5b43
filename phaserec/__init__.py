"""Phase recovery for audio: iterative spectrogram inversion built from three projectors.

The names below are loaded when first used, so that ``import phaserec`` stays as light as numpy
and the command line answers at once.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "InvertItem": "phaserec.commands.invert_item",
    "STFT": "phaserec.stft",
    "Problem": "phaserec.problem",
    "algorithm": "phaserec.algorithms",
    "algorithms": "phaserec.algorithms",
    "audio": "phaserec.audio",
    "corpus": "phaserec.corpus",
    "evaluation": "phaserec.evaluation",
    "griffinlim": "phaserec.api",
    "inverse": "phaserec.inverse",
    "invert": "phaserec.api",
    "invert_blocks": "phaserec.api",
    "iterate": "phaserec.solving",
    "measures": "phaserec.measures",
    "mel_to_audio": "phaserec.inverse",
    "mel_to_stft": "phaserec.inverse",
    "mfcc_to_audio": "phaserec.inverse",
    "misi": "phaserec.api",
    "momentum": "phaserec.algorithms",
    "phase": "phaserec.phase",
    "plot": "phaserec.plot",
    "projectors": "phaserec.projectors",
    "report": "phaserec.report",
    "start": "phaserec.starts",
    "starts": "phaserec.starts",
    "tuning": "phaserec.tuning",
}

__all__ = [*sorted(_HOME), "__version__"]

if TYPE_CHECKING:
    from phaserec import algorithms as algorithms
    from phaserec import audio as audio
    from phaserec import corpus as corpus
    from phaserec import evaluation as evaluation
    from phaserec import inverse as inverse
    from phaserec import measures as measures
    from phaserec import phase as phase
    from phaserec import plot as plot
    from phaserec import projectors as projectors
    from phaserec import report as report
    from phaserec import starts as starts
    from phaserec import tuning as tuning
    from phaserec.algorithms import algorithm as algorithm
    from phaserec.algorithms import momentum as momentum
    from phaserec.api import griffinlim as griffinlim
    from phaserec.api import invert as invert
    from phaserec.api import invert_blocks as invert_blocks
    from phaserec.api import misi as misi
    from phaserec.commands.invert_item import InvertItem as InvertItem
    from phaserec.inverse import mel_to_audio as mel_to_audio
    from phaserec.inverse import mel_to_stft as mel_to_stft
    from phaserec.inverse import mfcc_to_audio as mfcc_to_audio
    from phaserec.problem import Problem as Problem
    from phaserec.solving import iterate as iterate
    from phaserec.starts import start as start
    from phaserec.stft import STFT as STFT


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'phaserec' has no attribute {name!r}")
    module = import_module(_HOME[name])
    value = module if module.__name__ == f"phaserec.{name}" else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
