"""Separation from waveform to waveforms: a magnitude network and an unfolded inversion."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from phaserec import STFT, Problem
from phaserec._files import check_name, read_settings, write_files
from unfolded.checkpoints import WEIGHTS, load_into, read_state, write_state
from unfolded.estimators import NETWORKS, build
from unfolded.layers.format1 import upgraded, upgraded_state
from unfolded.layers.inversion import UnfoldedInversion

_CONFIG = "config.json"
_FORMAT = 2

# Models that ship, a folder each.
_SHIPPED = Path(__file__).parent / "pretrained"
DEFAULT_MODEL = "speech-enhancement"


class UnfoldedSeparator(nn.Module):
    """Magnitudes by a network, phases by K layers of unfolded inversion.

    Parameters
    ----------
    magnitude_network : nn.Module
        Estimator ``network(mixture, spectrogram) -> magnitudes``, see :mod:`unfolded.estimators`.
    inversion : UnfoldedInversion or None
        The layers; None (K = 0) gives the sources the phase of the mixture.
    stft : STFT
        Transform of both.
    sample_rate : float
        Sample rate of the waveforms in Hz.
    targets : sequence of str, optional
        Names of the sources; default those of the network, else ``source1`` and so on.

    Raises
    ------
    ValueError
        If the parts disagree in transform or number of sources.

    Examples
    --------
    >>> import torch
    >>> from phaserec import STFT
    >>> from unfolded import GRUMasks, UnfoldedInversion, UnfoldedSeparator
    >>> stft = STFT(256)
    >>> network = GRUMasks(2, n_fft=256, sample_rate=8000)
    >>> layers = UnfoldedInversion("misi", 3, stft=stft)
    >>> separator = UnfoldedSeparator(network, layers, stft, 8000)
    >>> separator(torch.randn(4, 1, 3000)).shape
    torch.Size([4, 2, 1, 3000])
    """

    def __init__(
        self,
        magnitude_network: nn.Module,
        inversion: UnfoldedInversion | None,
        stft: STFT,
        sample_rate: float,
        *,
        targets: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        if not 1 <= sample_rate < 2**31:
            raise ValueError(
                f"sample_rate={sample_rate!r} must be positive, in Hz, from 1 to {2**31 - 1}"
            )
        self.magnitude_network = magnitude_network
        self.inversion = inversion
        self.stft = stft
        self.sample_rate = sample_rate
        self.n_sources = int(magnitude_network.n_sources)  # type: ignore[arg-type]
        if inversion is not None:
            if inversion.stft != stft:
                raise ValueError(f"stft={stft} is not that of the inversion, {inversion.stft}")
            if inversion.n_sources not in (None, self.n_sources):
                raise ValueError(
                    f"the magnitude network has {self.n_sources} sources, but the inversion has "
                    f"n_sources={inversion.n_sources}"
                )
        config: dict[str, Any] = getattr(magnitude_network, "config", {})
        for name, own in (("n_fft", stft.n_fft), ("sample_rate", sample_rate)):
            if config.get(name, own) != own:
                raise ValueError(
                    f"{name}={own} is not that of the magnitude network, {config[name]}"
                )
        numbered = [f"source{j}" for j in range(1, self.n_sources + 1)]
        self.targets = list(targets or config.get("targets") or numbered)
        for target in self.targets:
            check_name(target, "targets")
        if len(set(self.targets)) != self.n_sources:
            raise ValueError(f"targets={self.targets} must be {self.n_sources} different names")

    def forward(self, mixture: Tensor, magnitudes: Tensor | None = None) -> Tensor:
        """Separate waveforms.

        Parameters
        ----------
        mixture : Tensor, shape (batch, channel, time)
            Waveforms, float32 or float64, of any length.
        magnitudes : Tensor, shape (batch, J, channel, F, T), optional
            Magnitudes in place of the network's, such as oracles.

        Returns
        -------
        Tensor, shape (batch, J, channel, time)
            Waveforms of the sources. They sum to the mixture where the algorithm mixes last.

        Raises
        ------
        ValueError
            If the shapes or types are not these, or values are not finite.
        """
        S, transform = self._solve(mixture, magnitudes)
        return transform.inverse(S, length=mixture.shape[-1]).movedim(2, 1)

    def spectrogram(self, mixture: Tensor, magnitudes: Tensor | None = None) -> Tensor:
        """Complex spectrograms before the inverse transform, for losses on them.

        Parameters
        ----------
        mixture, magnitudes
            As for :meth:`forward`.

        Returns
        -------
        Tensor, shape (batch, J, channel, F, T)
            Spectrograms.

        Raises
        ------
        ValueError
            As :meth:`forward`.
        """
        return self._solve(mixture, magnitudes)[0].movedim(2, 1)

    def _solve(self, mixture: Tensor, magnitudes: Tensor | None) -> tuple[Tensor, Any]:
        """Spectrograms ``(batch, channel, J, F, T)`` and the transform they belong to."""
        if mixture.ndim != 3 or 0 in mixture.shape:
            raise ValueError(
                f"mixture of shape {tuple(mixture.shape)} must be (batch, channel, time), not empty"
            )
        if mixture.dtype not in (torch.float32, torch.float64):
            raise ValueError(f"mixture has dtype {mixture.dtype}; allowed are float32 and float64")
        X = self.stft(mixture)
        if magnitudes is None:
            # Under autocast a network may answer in a lower precision.
            magnitudes = self.magnitude_network(mixture, X).to(mixture.dtype)
        wanted = (X.shape[0], self.n_sources, *X.shape[1:])
        if tuple(magnitudes.shape) != wanted:
            raise ValueError(
                f"magnitudes of shape {tuple(magnitudes.shape)} must be (batch, J, channel, F, T) "
                f"= {wanted}"
            )
        V = magnitudes.movedim(1, 2)  # channels are one more batch axis
        if self.inversion is None:
            start = Problem(V, mixture, stft=self.stft).start("mixture")
            return cast(Tensor, start), self.stft
        S = self.inversion.spectrogram(V, mixture)
        return S, self.inversion.transform or self.stft

    @property
    def config(self) -> dict[str, Any]:
        """What :meth:`save_pretrained` writes besides the weights; JSON.

        Raises
        ------
        ValueError
            If a part cannot be described: a network that is not one of
            ``unfolded.estimators.NETWORKS``, or an algorithm that is not registered.
        """
        kinds = {cls: name for name, cls in NETWORKS.items()}
        kind = kinds.get(type(self.magnitude_network))
        if kind is None:
            raise ValueError(
                f"magnitude network {type(self.magnitude_network).__name__} cannot be saved: it "
                f"is not in unfolded.estimators.NETWORKS ({', '.join(NETWORKS)})"
            )
        network: Any = self.magnitude_network
        return {
            "format": _FORMAT,
            "sample_rate": self.sample_rate,
            "targets": self.targets,
            "stft": {
                name: getattr(self.stft, name)
                for name in ("n_fft", "hop_length", "win_length", "window", "center", "pad_mode")
            },
            "magnitude_network": {"type": kind, **network.config},
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
            If a part cannot be described, see :attr:`config`.
        """
        folder = Path(folder)
        config = json.dumps(self.config, indent=2) + "\n"
        write_state(self.state_dict(), folder / WEIGHTS)
        write_files([folder / _CONFIG], [config.encode()])

    @classmethod
    def from_pretrained(cls, folder: Any = DEFAULT_MODEL) -> "UnfoldedSeparator":
        """Read a separator that :meth:`save_pretrained` wrote, or one that ships.

        Parameters
        ----------
        folder : str or path, default "speech-enhancement"
            Folder, or the name of a model that ships with the package, see
            :func:`shipped_models`; a folder of that name comes first.

        Returns
        -------
        UnfoldedSeparator
            The separator on the CPU, in evaluation mode, with the precision of its weights.

        Raises
        ------
        ValueError
            If a file is missing or damaged, or the weights are of another architecture.
        """
        folder = model_folder(folder)
        config = _read_config(folder / _CONFIG)
        separator = cls._from_config(config, str(folder / _CONFIG))
        state = read_state(folder / WEIGHTS)
        if config["format"] == 1 and config["inversion"] is not None:
            inner = {k[10:]: v for k, v in state.items() if k.startswith("inversion.")}
            state = {k: v for k, v in state.items() if not k.startswith("inversion.")}
            inner = upgraded_state(inner, config["inversion"])
            state |= {f"inversion.{k}": v for k, v in inner.items()}
        precisions = {tensor.dtype for tensor in state.values() if tensor.is_floating_point()}
        if len(precisions) == 1:
            separator.to(precisions.pop())
        load_into(separator, state, f"checkpoint {str(folder / WEIGHTS)!r}")
        return separator.eval()

    @classmethod
    def _from_config(cls, config: dict[str, Any], path: str) -> "UnfoldedSeparator":
        try:
            if config["format"] not in (1, _FORMAT):
                raise ValueError(f"format {config['format']!r} is not 1 or {_FORMAT}")
            window = config["stft"]["window"]
            window = tuple(window) if isinstance(window, list) else window
            stft = STFT(**(config["stft"] | {"window": window}))
            arguments = dict(config["magnitude_network"])
            kind = arguments.pop("type")
            if kind not in NETWORKS:
                raise ValueError(f"magnitude network {kind!r} is not one of {', '.join(NETWORKS)}")
            network = build(kind, arguments)
            layers, rest = config["inversion"], (stft, config["sample_rate"])
            # What does not go together is found before layers of any size are made.
            without = cls(network, None, *rest, targets=config["targets"])
            if layers is None:
                return without
            if config["format"] == 1:
                layers = upgraded(layers, stft.n_fft)
            if layers["n_sources"] not in (None, without.n_sources):
                raise ValueError(f"inversion has n_sources={layers['n_sources']!r}")
            without.inversion = UnfoldedInversion.from_config(layers, stft)
            return without
        except KeyError as error:
            raise ValueError(f"{path!r} is no configuration of a separator: no {error}") from None
        except (TypeError, ValueError, OverflowError, RuntimeError) as error:
            raise ValueError(f"{path!r} is no configuration of a separator: {error}") from None


def model_folder(folder: Any) -> Path:
    """Folder of a model, or of one that ships with the package, by its name.

    Parameters
    ----------
    folder : str or path
        As for :meth:`UnfoldedSeparator.from_pretrained`.

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


def shipped_models() -> list[str]:
    """Names of the models that ship with the package, for :meth:`from_pretrained`.

    Returns
    -------
    list of str
        Names, sorted.
    """
    return sorted(path.parent.name for path in _SHIPPED.glob(f"*/{_CONFIG}"))


def _read_config(path: Path) -> dict[str, Any]:
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
