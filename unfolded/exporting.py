"""Models as programs of torch.export or ONNX, which run without this package."""

import io
import warnings
from typing import Any

import torch
from torch import Tensor, nn

from phaserec import STFT
from phaserec._memory import check_memory
from unfolded.nn.recurrent import scanned
from unfolded.separator import Separator

# Frames of the example that a program for any number is made with.
_FRAMES = 41


class _Pairs(nn.Module):
    """An estimator whose spectrogram is given in real pairs: ONNX has no complex numbers."""

    def __init__(self, estimator: nn.Module) -> None:
        super().__init__()
        self.estimator = estimator

    def forward(self, mixture: Tensor, pairs: Tensor) -> Any:
        return self.estimator(mixture, torch.view_as_complex(pairs))


def separator_program(
    model: Separator, *, channels: int = 1, frames: int | None = None
) -> torch.export.ExportedProgram:
    """The whole separator as a program ``mixture -> waveforms``.

    Parameters
    ----------
    model : Separator
        The separator, in evaluation mode.
    channels : int, default 1
        Number of channels.
    frames : int, optional
        Fixed number T of frames; default: any number of whole hops of samples, two windows at
        least.

    Returns
    -------
    ExportedProgram
        Program of a mixture ``(1, channels, time)``.

    Raises
    ------
    ValueError
        If torch cannot export a part, or the example does not fit into memory.
    """
    stft, hops = model.stft, torch.export.Dim("hops", min=2 * model.stft.depth)
    count = _FRAMES + 2 * stft.depth if frames is None else frames
    x = _noise(stft, count, channels)
    begin = 0 if stft.center else stft.n_fft
    time = stft.hop_length * hops + begin if begin else stft.hop_length * hops
    dynamic = None if frames is not None else ({2: time},)
    return _exported(model, (x,), dynamic)


def estimator_program(
    model: Separator, *, channels: int = 1, frames: int | None = None
) -> torch.export.ExportedProgram:
    """The estimator of a separator as a program ``mixture, spectrogram -> magnitudes``.

    Parameters
    ----------
    model : Separator
        The separator, in evaluation mode.
    channels : int, default 1
        Number of channels.
    frames : int, optional
        Fixed number T of frames; default any.

    Returns
    -------
    ExportedProgram
        Program of a mixture ``(1, channels, time)`` and its spectrogram ``(1, channels, F, T)``.

    Raises
    ------
    ValueError
        If there is no estimator, torch cannot export it, or the example does not fit into memory.
    """
    x = _noise(model.stft, _FRAMES if frames is None else frames, channels)
    dynamic = ({2: torch.export.Dim.AUTO}, {3: torch.export.Dim.AUTO})
    return _exported(_estimator(model), (x, model.stft(x)), None if frames else dynamic)


def saved(program: torch.export.ExportedProgram) -> bytes:
    """Content of a ``.pt2`` file, for ``torch.export.load``."""
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    return buffer.getvalue()


def estimator_onnx(model: Separator, *, channels: int = 1, frames: int | None = None) -> bytes:
    """The estimator of a separator as an ONNX model, with the spectrogram in real pairs.

    Parameters
    ----------
    model, channels, frames
        As for :func:`estimator_program`.

    Returns
    -------
    bytes
        Content of an ``.onnx`` file: ``mixture`` and ``pairs (1, channels, F, T, 2)`` to
        ``magnitudes``.

    Raises
    ------
    ValueError
        As :func:`estimator_program`.
    ModuleNotFoundError
        Without the packages onnx and onnxscript.
    """
    x = _noise(model.stft, _FRAMES if frames is None else frames, channels)
    given = x, torch.view_as_real(model.stft(x))
    dynamic = ({2: torch.export.Dim.AUTO}, {3: torch.export.Dim.AUTO})
    program = _exported(_Pairs(_estimator(model)), given, None if frames else dynamic)
    import onnxscript  # noqa: F401  torch says less where it is missing

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = torch.onnx.export(
            program,
            input_names=["mixture", "pairs"],
            output_names=["magnitudes"],
            dynamo=True,
            verbose=False,
        )
    assert made is not None
    return bytes(made.model_proto.SerializeToString())


def _estimator(model: Separator) -> nn.Module:
    if model.estimator is None:
        raise ValueError("the model has no estimator that could be exported")
    return model.estimator


def _noise(stft: STFT, frames: int, channels: int) -> Tensor:
    """Waveforms of so many frames, in whole hops where that is possible."""
    check_memory(
        f"channels={channels} and frames={frames}",
        64 * stft.n_bins * frames * channels,
        "export fewer of them",
    )
    length = max(stft.hop_length * (frames - 1), 1) if stft.center else stft.n_samples(frames)
    generator = torch.Generator().manual_seed(0)
    return torch.randn(1, channels, length, generator=generator)


def _exported(
    module: nn.Module, given: tuple[Tensor, ...], dynamic: Any
) -> torch.export.ExportedProgram:
    """Program of a module, which gives what the module gives."""
    name = type(module).__name__
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # of torch about itself
            program = torch.export.export(scanned(module), given, dynamic_shapes=dynamic)
            torch.testing.assert_close(
                program.module()(*given), module(*given), rtol=1e-4, atol=1e-5
            )
    except Exception as error:  # torch.export fails in many ways
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(
            f"{name} cannot be exported by torch {torch.__version__}: "
            f"{type(error).__name__}: {reason}"
        ) from error
    return program
