"""The metrics by name: what each computes, in which unit, and what it needs.

A metric of one waveform is a function of reference, estimate and :class:`Settings`; one that looks
at all sources of an item together is registered with :func:`joint_metric`.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from importlib.machinery import PathFinder
from importlib.util import find_spec, module_from_spec
from threading import Lock
from types import ModuleType
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np

from phaserec import audio, measures
from phaserec._registry import Registry
from phaserec._typing import Array
from phaserec._xp import namespace
from phaserec.problem import Problem
from phaserec.stft import STFT


class Undefined(ValueError):
    """A metric has no value for these signals; the message says why."""


@dataclass(frozen=True)
class Settings:
    """What metrics know besides the samples.

    Attributes
    ----------
    rate : int
        Sample rate in Hz.
    stft : STFT
        Transform of spectral metrics.
    """

    rate: int
    stft: STFT = field(default_factory=STFT)


Better = Literal["higher", "lower"]


class Waveform(Protocol):
    """``f(reference, estimate, settings)`` of waveforms ``(time,)``: one real number."""

    def __call__(self, reference: Any, estimate: Any, settings: Settings, /) -> Any: ...
    def __hash__(self) -> int: ...


Joint: TypeAlias = Callable[[np.ndarray, np.ndarray, Settings], Mapping[str, np.ndarray]]


@dataclass(frozen=True)
class Metric:
    """A metric as the registry holds it.

    Attributes
    ----------
    name : str
        Name on the command line.
    function : callable
        ``f(reference, estimate, settings) -> float`` of waveforms (time,), tensors too where no
        package is needed, or, where ``joint``,
        ``f(references, estimates, settings)`` of arrays (J, channels, time), which returns one
        array (J,) or (J, frames) for each column.
    columns : tuple of str
        Names of its values.
    unit : str
        Unit of the values, empty for plain numbers.
    better : str
        Whether ``"higher"`` or ``"lower"`` values are better.
    package : str or None
        Package of the extra ``eval`` that it needs.
    joint : bool
        Whether it looks at all sources together.
    improvement : bool
        Whether it is what the estimate gains over the mixture, which it then needs.
    """

    name: str
    function: Callable[..., object]
    columns: tuple[str, ...]
    unit: str = ""
    better: Better = "higher"
    package: str | None = None
    joint: bool = False
    improvement: bool = False

    @property
    def summary(self) -> str:
        """First line of the documentation of its function."""
        text = (self.function.__doc__ or "").strip().partition("\n")[0]
        return f"Improvement over the mixture of: {text}" if self.improvement else text

    @property
    def installed(self) -> bool:
        """Whether the package that it needs is there."""
        return self.package is None or find_spec(self.package) is not None

    def check(self) -> None:
        """Raise ValueError if the package that it needs is missing."""
        if not self.installed:
            raise ValueError(
                f"metric {self.name} needs the package {self.package}: pip install 'phaserec[eval]'"
            )


METRICS: Registry[Metric] = Registry("metric", "phaserec.scores")


def metric(
    name: str,
    *,
    unit: str = "",
    better: Better = "higher",
    package: str | None = None,
    improvement: bool = False,
) -> Callable[[Waveform], Waveform]:
    """Register a metric of one reference and one estimate.

    Channels are measured one by one and averaged. The reference is never silent: rows with a
    silent one are undefined without asking.

    Parameters
    ----------
    name : str
        Name.
    unit : str, optional
        Unit of its values.
    better : {"higher", "lower"}
        Which values are better.
    package : str, optional
        Package of the extra ``eval`` that it needs.
    improvement : bool, default False
        Also register ``name + "i"``, the gain over the mixture.

    Returns
    -------
    callable
        Decorator of ``f(reference, estimate, settings) -> float``, which raises
        :class:`Undefined` where it has no value.

    Examples
    --------
    >>> import numpy as np
    >>> from phaserec.evaluation import metric
    >>> @metric("peak-error", better="lower")
    ... def peak_error(reference, estimate, settings):
    ...     return np.max(np.abs(estimate - reference))
    """

    def register(function: Waveform) -> Waveform:
        METRICS.add(name, Metric(name, function, (name,), unit, better, package), function)
        if improvement:
            gain = f"{name}i"
            entry = Metric(gain, function, (gain,), unit, better, package, improvement=True)
            METRICS.add(gain, entry, function)
        return function

    return register


def joint_metric(
    name: str,
    columns: Sequence[str],
    *,
    unit: str = "",
    better: Better = "higher",
    package: str | None = None,
) -> Callable[[Joint], Joint]:
    """Register a metric of all sources of an item together.

    Parameters
    ----------
    name : str
        Name.
    columns : sequence of str
        Names of its values.
    unit, better, package
        As for :func:`metric`.

    Returns
    -------
    callable
        Decorator of ``f(references, estimates, settings)`` of arrays (J, channels, time), none of
        the references silent; it returns an array (J,) or (J, frames) for each column, NaN where
        undefined. Of frames the median is taken, over those that are defined.
    """

    def register(function: Joint) -> Joint:
        entry = Metric(name, function, tuple(columns), unit, better, package, joint=True)
        METRICS.add(name, entry, function)
        return function

    return register


def resolve(names: Sequence[str | Metric]) -> list[Metric]:
    """Metrics by their names, each once.

    Parameters
    ----------
    names : sequence of str or Metric
        Names in :data:`METRICS`.

    Returns
    -------
    list of Metric
        Metrics in the order given.

    Raises
    ------
    ValueError
        If there is no such metric, none is given, or a package is missing.
    """
    found: dict[str, Metric] = {}
    for name in names:
        entry = name if isinstance(name, Metric) else METRICS.find(name)
        if entry is None:
            raise ValueError(
                f"metric {name!r} is not one of {', '.join(METRICS)}{METRICS.near(str(name))}"
            )
        entry.check()
        found[entry.name] = entry
    if not found:
        raise ValueError("no metric is given")
    return list(found.values())


# -- Waveforms -------------------------------------------------------------------------------------


@metric("si-sdr", unit="dB", improvement=True)
def si_sdr(reference: Array, estimate: Array, settings: Settings) -> Array:
    """Scale-invariant signal-to-distortion ratio (Le Roux et al., ICASSP 2019)."""
    return measures.si_sdr(reference, estimate)


@metric("sdr", unit="dB", improvement=True)
def sdr(reference: Array, estimate: Array, settings: Settings) -> Array:
    """Signal-to-distortion ratio of BSS Eval with 512 taps (Vincent et al., IEEE TASLP 2006)."""
    return measures.sdr(reference, estimate)


@metric("snr", unit="dB", improvement=True)
def snr(reference: Array, estimate: Array, settings: Settings) -> Array:
    """Signal-to-noise ratio: every difference is noise."""
    return measures.snr(reference, estimate)


@metric("spectral-convergence", unit="dB", better="lower")
def spectral_convergence(reference: Array, estimate: Array, settings: Settings) -> Array:
    """Distance of the magnitude spectrograms over the norm of the reference's."""
    stft = settings.stft
    p = Problem(namespace(reference).abs(stft(reference)), stft=stft, length=len(reference))
    # The spectrogram of a waveform is consistent, so that G S = S.
    error = measures.magnitude_error(stft(estimate), p)
    return measures.decibel(error, measures.two_sided_sum(p.magnitudes**2, p))


# -- Speech ----------------------------------------------------------------------------------------

# Filters of warnings and numpy's global generator belong to one thread at a time.
_GLOBALS = Lock()

# The C code of PESQ has room for 50 utterances and writes beyond it when there are more.
_PESQ_SECONDS = 120


@metric("pesq", unit="MOS-LQO", package="pesq")
def pesq(reference: np.ndarray, estimate: np.ndarray, settings: Settings) -> float:
    """Perceptual evaluation of speech quality, wide-band (P.862.2); narrow-band at 8 kHz."""
    package = import_module("pesq")
    rate = settings.rate
    if len(reference) > _PESQ_SECONDS * rate:
        raise Undefined(f"takes at most {_PESQ_SECONDS} s")
    _refuse_silence(estimate)
    if rate not in (8000, 16000):
        reference, estimate = audio.resample(np.stack([reference, estimate]), rate, 16000)
        rate = 16000
    try:
        return float(package.pesq(rate, reference, estimate, "nb" if rate == 8000 else "wb"))
    except package.PesqError as error:
        text = error.args[0]
        raise Undefined(text.decode() if isinstance(text, bytes) else str(text)) from None


@metric("stoi", package="pystoi")
def stoi(reference: np.ndarray, estimate: np.ndarray, settings: Settings) -> float:
    """Short-time objective intelligibility (Taal et al., IEEE TASLP 2011)."""
    return _stoi(reference, estimate, settings, extended=False)


@metric("estoi", package="pystoi")
def estoi(reference: np.ndarray, estimate: np.ndarray, settings: Settings) -> float:
    """Extended short-time objective intelligibility (Jensen & Taal, IEEE/ACM TASLP 2016)."""
    return _stoi(reference, estimate, settings, extended=True)


def _stoi(
    reference: np.ndarray, estimate: np.ndarray, settings: Settings, *, extended: bool
) -> float:
    _refuse_silence(estimate)
    package = import_module("pystoi")
    with _GLOBALS:
        # ESTOI adds a whisper of numpy's global noise; the same one every time.
        state = np.random.get_state()  # noqa: NPY002
        np.random.seed(0)  # noqa: NPY002
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", RuntimeWarning)
                return float(package.stoi(reference, estimate, settings.rate, extended=extended))
        except (RuntimeWarning, ValueError, IndexError):  # the last two: less than one frame
            raise Undefined("fewer than 30 frames (0.4 s) of speech") from None
        finally:
            np.random.set_state(state)  # noqa: NPY002


def _refuse_silence(estimate: np.ndarray) -> None:
    if not estimate.any():
        raise Undefined("the estimate is silent")


# -- BSS Eval --------------------------------------------------------------------------------------

_TAPS = 512


@joint_metric("bss", ("bss-sdr", "bss-isr", "bss-sir", "bss-sar"), unit="dB", package="museval")
def bss(references: np.ndarray, estimates: np.ndarray, settings: Settings) -> dict[str, np.ndarray]:
    """BSS Eval v4 of museval, frames of 1 s: SDR, ISR, SIR and SAR of the source images."""
    values = _museval(references, estimates, window=settings.rate, hop=settings.rate)
    return dict(zip(METRICS["bss"].columns, values, strict=True))


@joint_metric("bss-sources", ("sir", "sar"), unit="dB", package="museval")
def bss_sources(
    references: np.ndarray, estimates: np.ndarray, settings: Settings
) -> dict[str, np.ndarray]:
    """SIR and SAR that belong to sdr: BSS Eval of sources, one filter for the whole recording."""
    values = [
        _museval(
            references[:, [channel]],
            estimates[:, [channel]],
            window=np.inf,
            hop=np.inf,
            bsseval_sources_version=True,
        )
        for channel in range(references.shape[1])
    ]
    _, _, sir, sar = np.mean(values, axis=0)[..., 0]
    return {"sir": sir, "sar": sar}


def _museval(references: np.ndarray, estimates: np.ndarray, **options: Any) -> list[np.ndarray]:
    """SDR, ISR, SIR and SAR ``(J, frames)``; NaN for silent estimates."""
    silent = np.array([not estimate.any() for estimate in estimates])
    # museval refuses silent estimates. The values of one source do not depend on the estimates of
    # the others, so the reference can stand in.
    estimates = np.where(silent[:, None, None], references, estimates)
    with np.errstate(divide="ignore", invalid="ignore"):
        try:
            *values, _ = _museval_metrics().bss_eval(
                np.moveaxis(references, 1, 2),
                np.moveaxis(estimates, 1, 2),
                filters_len=_TAPS,
                **options,
            )
        # It names LinAlgError where numpy 2 no longer has it.
        except (np.linalg.LinAlgError, AttributeError):
            raise Undefined("the references are linearly dependent") from None
    return [np.where(silent[:, None], np.nan, value) for value in values]


@cache
def _museval_metrics() -> ModuleType:
    """The module ``museval.metrics`` alone.

    The package imports readers of music data sets, which stop where ffmpeg is absent; its
    metrics need numpy and scipy only.
    """
    package = find_spec("museval")
    assert package is not None and package.submodule_search_locations
    spec = PathFinder.find_spec("museval.metrics", list(package.submodule_search_locations))
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
