"""Separation from waveform to waveforms: an estimator of magnitudes and an unfolded inversion."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Self, TypeVar

import torch
from torch import Tensor, nn

from phaserec import STFT, Problem, projectors
from phaserec._files import check_name
from unfolded.checkpoints import load_into, read_state
from unfolded.estimators import ESTIMATORS, Estimate
from unfolded.layers.inversion import UnfoldedInversion
from unfolded.nn.modules import describe, rebuild, rebuild_stft
from unfolded.saving import (
    DEFAULT_MODEL,
    FORMAT,
    check_layers,
    model_files,
    read_config,
    upgraded_config,
    upgraded_state,
    write_model,
)

ValueT = TypeVar("ValueT")

# Characters of a message about a file that may hold anything.
_LONGEST = 500


class Separator(nn.Module):
    """Magnitudes by an estimator, phases by K layers of unfolded inversion.

    The transform, the sample rate and the sources are told once: by the estimator if it has the
    attributes ``stft``, ``sample_rate`` and ``targets`` or ``n_sources``, by the inversion, or
    here. Where several tell, they must agree.

    Parameters
    ----------
    estimator : nn.Module or None
        Any module ``estimator(mixture, spectrogram)`` that gives magnitudes, or an
        :class:`~unfolded.estimators.Estimate` of magnitudes and a start, see
        :mod:`unfolded.estimators`. None where magnitudes are given at each call.
    inversion : str, callable, UnfoldedInversion or None, default None
        The algorithm by its name or step function, or the layers made of one; None gives the
        sources the phase of the estimator's start, else that of the mixture.
    n_layers : int, optional
        Number of layers K of an algorithm.
    stft : STFT, optional
        Transform of both.
    sample_rate : float, optional
        Sample rate of the waveforms in Hz.
    targets : sequence of str, optional
        Names of the sources; default ``source1`` and so on.
    **options
        Arguments of :class:`UnfoldedInversion` for an algorithm, such as ``sigma=0.5`` or
        ``trainable={"sigma": "layer,frequency"}``.

    Attributes
    ----------
    estimator : nn.Module or None
        The estimator.
    inversion : UnfoldedInversion or None
        The layers.
    stft : STFT
        The transform.
    sample_rate : float
        Sample rate in Hz.
    targets : list of str or None
        Names of the sources; None where their number J is only known at a call.

    Raises
    ------
    ValueError
        If nobody tells the transform or the sample rate, or the parts disagree.

    Examples
    --------
    >>> import torch
    >>> from phaserec import STFT
    >>> from unfolded import GRUMasks, Separator
    >>> estimator = GRUMasks(2, stft=STFT(256), sample_rate=8000)
    >>> separator = Separator(estimator, "misi", 3)
    >>> separator(torch.randn(4, 1, 3000)).shape
    torch.Size([4, 2, 1, 3000])
    >>> separator(torch.randn(4, 3000)).shape
    torch.Size([4, 2, 3000])
    """

    def __init__(
        self,
        estimator: nn.Module | None,
        inversion: str | Callable[..., Any] | UnfoldedInversion | None = None,
        n_layers: int | None = None,
        *,
        stft: STFT | None = None,
        sample_rate: float | None = None,
        targets: Sequence[str] | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        layers = inversion if isinstance(inversion, UnfoldedInversion) else None
        self.stft: STFT = _required("stft", _told("stft", stft, estimator, layers))
        rate = _told("sample_rate", sample_rate, estimator, layers)
        self.sample_rate: float = _required("sample_rate", rate)
        if not 1 <= self.sample_rate < 2**31:
            raise ValueError(
                f"sample_rate={self.sample_rate!r} must be positive, in Hz, from 1 to {2**31 - 1}"
            )
        names = getattr(estimator, "targets", None) if targets is None else targets
        self.targets = _targets(names, _told("n_sources", None, estimator, layers))
        self.estimator = estimator
        if inversion is None or layers is not None:
            if n_layers is not None or options:
                given = ", ".join([*["n_layers"] * (n_layers is not None), *options])
                raise ValueError(
                    f"{given}: only for an inversion that is the name or step function of an "
                    f"algorithm, not {type(inversion).__name__}"
                )
        elif n_layers is None:
            raise ValueError(f"n_layers=None must be the number of layers of {inversion}")
        else:
            if any("source" in axes for axes in (options.get("trainable") or {}).values()):
                options = {"n_sources": self.n_sources} | options
            layers = UnfoldedInversion(inversion, n_layers, stft=self.stft, **options)
        self.inversion = layers

    @property
    def n_sources(self) -> int | None:
        """Number of sources J; None where it is only known at a call."""
        return None if self.targets is None else len(self.targets)

    def forward(self, mixture: Tensor, magnitudes: Tensor | None = None) -> Tensor:
        """Separate waveforms.

        Parameters
        ----------
        mixture : Tensor, shape (batch, time) or (batch, channel, time)
            Waveforms, float32 or float64, of any length.
        magnitudes : Tensor, shape (batch, J, F, T) or (batch, J, channel, F, T), optional
            Magnitudes in place of the estimator's, such as oracles.

        Returns
        -------
        Tensor, shape (batch, J, time) or (batch, J, channel, time)
            Waveforms of the sources. They sum to the mixture where the algorithm mixes last.

        Raises
        ------
        ValueError
            If the shapes or types are not these, values are not finite, or magnitudes are missing.
        """
        if mixture.ndim == 2:
            return self.forward(*_with_channel(mixture, magnitudes)).squeeze(2)
        V, init, gain = self._begin(mixture, magnitudes)
        with _full_precision(mixture):
            if self.inversion is not None and gain is None:
                return self.inversion(V, mixture, init).movedim(2, 1)
            *_, S = self._spectrograms(V, mixture, init, gain)
        return self.waveforms(S.movedim(2, 1), mixture.shape[-1])

    def spectrogram(self, mixture: Tensor, magnitudes: Tensor | None = None) -> Tensor:
        """Complex spectrograms before the inverse transform, for losses on them.

        Parameters
        ----------
        mixture, magnitudes
            As for :meth:`forward`.

        Returns
        -------
        Tensor, shape (batch, J, F, T) or (batch, J, channel, F, T)
            Spectrograms.

        Raises
        ------
        ValueError
            As :meth:`forward`.
        """
        if mixture.ndim == 2:
            return self.spectrogram(*_with_channel(mixture, magnitudes)).squeeze(2)
        V, init, gain = self._begin(mixture, magnitudes)
        with _full_precision(mixture):
            *_, S = self._spectrograms(V, mixture, init, gain)
        return S.movedim(2, 1)

    def trajectory(self, mixture: Tensor, magnitudes: Tensor | None = None) -> list[Tensor]:
        """Complex spectrograms after each layer, for losses on all of them.

        Parameters
        ----------
        mixture, magnitudes
            As for :meth:`forward`.

        Returns
        -------
        list of Tensor, shape (batch, J, F, T) or (batch, J, channel, F, T)
            Spectrograms, one of each layer, each with the gain of the estimate; only one where
            there are no layers.

        Raises
        ------
        ValueError
            As :meth:`forward`.
        """
        if mixture.ndim == 2:
            each = self.trajectory(*_with_channel(mixture, magnitudes))
            return [S.squeeze(2) for S in each]
        V, init, gain = self._begin(mixture, magnitudes)
        with _full_precision(mixture):
            each = self._spectrograms(V, mixture, init, gain, every=True)
        return [S.movedim(2, 1) for S in each]

    def waveforms(self, S: Tensor, length: int) -> Tensor:
        """Waveforms of spectrograms by the transform of the layers.

        Parameters
        ----------
        S : Tensor, shape (..., F, T)
            Complex spectrograms.
        length : int
            Samples of the result.

        Returns
        -------
        Tensor, shape (..., length)
            Waveforms.
        """
        with _full_precision(S):
            made: Any = self.stft if self.inversion is None else self.inversion
            result: Tensor = made.inverse(S, length=length)
        return result

    def _spectrograms(
        self,
        V: Tensor,
        mixture: Tensor,
        init: Tensor | None,
        gain: Tensor | None,
        *,
        every: bool = False,
    ) -> list[Tensor]:
        """Spectrograms ``(batch, channel, J, F, T)`` of each layer, or of the last alone."""
        if self.inversion is None:
            found: list[Any] = [Problem(V, mixture, stft=self.stft).start(init)]
        elif every:
            found = self.inversion.trajectory(V, mixture, init)
        else:
            found = [self.inversion.spectrogram(V, mixture, init)]
        return found if gain is None else [gain * S for S in found]

    def _begin(
        self, mixture: Tensor, magnitudes: Tensor | None
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Magnitudes ``(batch, channel, J, F, T)``, start and gain for a mixture with channels."""
        if mixture.ndim != 3 or 0 in mixture.shape:
            raise ValueError(
                f"mixture of shape {tuple(mixture.shape)} must be (batch, time) or (batch, "
                "channel, time), not empty"
            )
        if mixture.dtype not in (torch.float32, torch.float64):
            raise ValueError(f"mixture has dtype {mixture.dtype}; allowed are float32 and float64")
        with _full_precision(mixture):
            X = self.stft(mixture)
        V, start, gain = self._estimate(mixture, X) if magnitudes is None else Estimate(magnitudes)
        n_sources = V.shape[1:2] if self.n_sources is None else (self.n_sources,)
        wanted = (X.shape[0], *n_sources, *X.shape[1:])
        for name, tensor in (("magnitudes", V), ("start", start), ("gain", gain)):
            if tensor is not None and tuple(tensor.shape) != wanted:
                raise ValueError(
                    f"{name} of shape {tuple(tensor.shape)} must be (batch, J, channel, F, T) "
                    f"= {wanted}"
                )
        with _full_precision(mixture):
            V = V.movedim(1, 2)  # channels are one more batch axis
            init = None if start is None else projectors.magnitude(start.movedim(1, 2), V)
        return V, init, None if gain is None else gain.movedim(1, 2)

    def _estimate(self, mixture: Tensor, X: Tensor) -> Estimate:
        """What the estimator gives, in the precision of the mixture."""
        if self.estimator is None:
            raise ValueError("magnitudes=None must be given: this separator has no estimator")
        given = self.estimator(mixture, X)
        magnitudes, start, gain = given if isinstance(given, Estimate) else Estimate(given)
        return Estimate(
            magnitudes.to(mixture.dtype),
            None if start is None else start.to(X.dtype),
            None if gain is None else gain.to(mixture.dtype),
        )

    @property
    def config(self) -> dict[str, Any]:
        """What :meth:`save_pretrained` writes besides the weights; JSON.

        Raises
        ------
        ValueError
            If the algorithm is not registered, so that a name cannot stand for it.
        """
        return {
            "format": FORMAT,
            "stft": self.stft.settings,
            "sample_rate": self.sample_rate,
            "targets": self.targets,
            "estimator": None if self.estimator is None else describe(self.estimator, ESTIMATORS),
            "inversion": None if self.inversion is None else self.inversion.config,
        }

    def save_pretrained(self, folder: Any) -> None:
        """Write ``config.json`` and ``model.safetensors``.

        Each file is written under a temporary name and renamed.

        Parameters
        ----------
        folder : str or path
            Folder; made if it does not exist.

        Raises
        ------
        ValueError
            If a part cannot be described in JSON, see :attr:`config`.
        """
        write_model(folder, self.config, self.state_dict())

    @classmethod
    def from_pretrained(
        cls,
        folder: Any = DEFAULT_MODEL,
        *,
        estimator: nn.Module | None = None,
        inversion: UnfoldedInversion | None = None,
    ) -> Self:
        """Read a separator that :meth:`save_pretrained` wrote, or one that ships.

        Nothing is imported for what a file names: modules with classes of your own must have been
        imported.

        Parameters
        ----------
        folder : str or path, default "speech-enhancement"
            Folder, or the name of a model that ships with the package, see
            :func:`shipped_models`; a folder of that name comes first.
        estimator : nn.Module, optional
            Estimator that takes the weights, in place of one that is made of the description;
            needed where the class does not remember its arguments, see
            :class:`unfolded.Described`.
        inversion : UnfoldedInversion, optional
            Layers that take the weights, likewise, for corrections that are not remembered.

        Returns
        -------
        Separator
            The separator on the CPU, in evaluation mode, with the precision of its weights.

        Raises
        ------
        ValueError
            If a file is missing or damaged, the class of the estimator is not known, or the
            weights are of another architecture.
        """
        config_file, weights_file = model_files(folder)
        config = read_config(config_file)
        weights = read_state(weights_file)
        check_layers(config, weights, str(weights_file))
        separator = cls._from_config(config, estimator, inversion, str(config_file))
        state = upgraded_state(weights, config)
        precisions = {tensor.dtype for tensor in state.values() if tensor.is_floating_point()}
        if len(precisions) == 1:
            separator.to(precisions.pop())
        load_into(separator, state, f"checkpoint {str(weights_file)!r}")
        return separator.eval()

    @classmethod
    def _from_config(
        cls,
        config: dict[str, Any],
        estimator: nn.Module | None,
        inversion: UnfoldedInversion | None,
        path: str,
    ) -> Self:
        try:
            config = upgraded_config(config)
            stft = rebuild_stft(config["stft"])
            if estimator is None and config["estimator"] is not None:
                estimator = rebuild(config["estimator"], ESTIMATORS, "estimator")
            known = {"stft": stft, "sample_rate": config["sample_rate"]}
            known["targets"] = config["targets"]
            layers = config["inversion"]
            # What does not go together is found before layers of any size are made.
            separator = cls(estimator, inversion, **known)
            if inversion is not None or layers is None:
                return separator
            if layers["n_sources"] not in (None, separator.n_sources):
                raise ValueError(f"inversion has n_sources={layers['n_sources']!r}")
            separator.inversion = UnfoldedInversion.from_config(layers, stft)
            return separator
        except Exception as error:  # a file can hold anything, and classes of others do anything
            reason = f"no {error}" if isinstance(error, KeyError) else str(error)
            reason = " ".join(reason.split())[:_LONGEST]
            raise ValueError(f"{path!r} is no configuration of a separator: {reason}") from error


def _full_precision(mixture: Tensor) -> AbstractContextManager[Any]:
    """Autocast switched off: of a separator, the estimator alone is in lower precision."""
    device = mixture.device.type
    if torch.is_autocast_enabled(device):
        return torch.autocast(device, enabled=False)
    return nullcontext()


def _told(name: str, given: Any, *parts: nn.Module | None) -> Any:
    """Value that is given, or that parts have as an attribute: one and the same, if any."""
    told = [("the argument", given)]
    told += [(f"the {type(part).__name__}", getattr(part, name, None)) for part in parts]
    told = [(who, value) for who, value in told if value is not None]
    for who, value in told[1:]:
        if value != told[0][1]:
            raise ValueError(f"{name}={told[0][1]} of {told[0][0]} is not that of {who}, {value}")
    return told[0][1] if told else None


def _required(name: str, value: ValueT | None) -> ValueT:
    if value is None:
        raise ValueError(f"{name}=None must be given: neither estimator nor inversion tells it")
    return value


def _targets(names: Any, n_sources: int | None) -> list[str] | None:
    """Names of the sources, which are numbered where they have none."""
    if names is None:
        return None if n_sources is None else [f"source{j + 1}" for j in range(n_sources)]
    names = [names] if isinstance(names, str) else list(names)
    for name in names:
        check_name(name, "targets")
    if not 1 <= len(set(names)) == len(names) or n_sources not in (None, len(names)):
        count = n_sources or "one or more"
        raise ValueError(f"targets={names} must be {count} different names")
    return names


def _with_channel(mixture: Tensor, magnitudes: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """The arguments of a separator with an axis for one channel."""
    return mixture.unsqueeze(1), None if magnitudes is None else magnitudes.unsqueeze(2)
