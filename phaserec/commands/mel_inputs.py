"""What ``phaserec invert --mel`` and ``--analyse`` read: mel values and what they are."""

from pathlib import Path
from typing import Any

import numpy as np

from phaserec import audio
from phaserec.commands.inputs import Inputs, channels_of, read_magnitudes, resolved_transform
from phaserec.commands.options import Mel, Signals, Transform
from phaserec.inverse import Bands
from phaserec.stft import STFT


def load(mel: Mel, signals: Signals, chosen: Transform, *, transform: STFT | None = None) -> Inputs:
    """Read mel values, or make them or magnitudes of a recording.

    Parameters
    ----------
    mel : Mel
        The values, and what they are.
    signals : Signals
        The recording, and the rate and length of values.
    chosen : Transform
        The transform as typed.
    transform : STFT, optional
        What it is where nothing else says so; default ``STFT()``.

    Returns
    -------
    Inputs
        Magnitudes that have the values, and unless they are to stay, the values.

    Raises
    ------
    ValueError, OSError
        For anything wrong with the files or the settings.
    """
    _check_together(mel, signals)
    given: dict[str, Any] = {name: getattr(chosen, name) for name in _SIZES}
    given |= {"rate": signals.rate, "length": signals.length}
    if mel.mel is not None:
        arrays, stored = read_magnitudes(Path(mel.mel))
        given = {name: stored.get(name) if v is None else v for name, v in given.items()}
        if given["rate"] is None:
            raise ValueError("mel values carry no sample rate; add --rate, such as 22050")
        audio.check_rate("--rate", given["rate"])
        values, names, title = channels_of(arrays, None), list(arrays), Path(mel.mel).name
        stft = resolved_transform(given, chosen, transform or STFT())
        settings = _settings(mel, values.shape[-2], given["rate"])
        bands = _bands(settings, stft)
    else:
        assert signals.mixture is not None
        whole = audio.read(signals.mixture)
        if given["rate"] not in (None, whole.rate):
            raise ValueError(f"--rate {given['rate']} but {signals.mixture} has {whole.rate} Hz")
        given |= {"rate": whole.rate, "length": whole.samples.shape[-1]}
        stft = resolved_transform(given, chosen, transform or STFT())
        title = "Standard input" if signals.mixture == "-" else Path(signals.mixture).name
        names = [Path(title).stem]
        if mel.analyse == "magnitudes":
            V = np.abs(stft(whole.samples[:, None]))
            rest = (given["rate"], given["length"], stft)
            return Inputs(title, names, V, None, None, None, *rest)
        settings = _settings(mel, 80 if mel.n_mels is None else mel.n_mels, whole.rate)
        bands = _bands(settings, stft)
        values = bands(stft(whole.samples[:, None]))
    settings |= {name: getattr(bands, name) for name in _CONVENTIONS}
    return Inputs(
        *(title, names, bands.magnitudes(values), None, None, None),
        *(given["rate"], given["length"], stft),
        bands=None if mel.fixed else bands,
        values=None if mel.fixed else values,
        mel=settings,
    )


_SIZES = ("n_fft", "hop_length", "win_length")
# Those of logarithms.
_CONVENTIONS = ("ref", "floor")


def _check_together(mel: Mel, signals: Signals) -> None:
    if signals.estimates or signals.magnitudes or signals.references or signals.remainder:
        raise ValueError(
            "--mel and --analyse take the place of --estimates, --magnitudes, --references and "
            "--remainder; leave those out"
        )
    if mel.mel is not None and (signals.mixture is not None or mel.analyse is not None):
        raise ValueError("--mel has the values; leave out MIXTURE and --analyse")
    if mel.analyse is not None and (signals.mixture is None or signals.folder is not None):
        raise ValueError(f"--analyse {mel.analyse} needs MIXTURE, a recording; name it first")
    if mel.analyse == "magnitudes" and (mel.n_mels is not None or mel.fixed):
        raise ValueError("--n-mels and --fixed are for mel values; leave them out")
    if mel.mel is not None and mel.n_mels is not None:
        raise ValueError("--n-mels is what the file of --mel says; leave it out")


def _settings(mel: Mel, n_mels: int, rate: int) -> dict[str, Any]:
    """What the values are, with all that was not typed."""
    kaldi = mel.mel_scale == "kaldi"
    log = mel.log or ("ln" if kaldi else "none")
    for name in _CONVENTIONS:
        value = getattr(mel, name)
        if value is not None and (kaldi or log == "none"):
            why = "kaldi has its own" if kaldi else "it goes with a logarithm, such as --log db"
            raise ValueError(f"--{name} {value:g}: {why}; leave it out")
    fmin = mel.fmin if mel.fmin is not None else 20.0 if kaldi else 0.0
    return {
        "n_mels": n_mels,
        "scale": mel.mel_scale,
        "norm": mel.mel_norm,
        "power": mel.mel_power,
        "log": log,
        "ref": mel.ref,
        "floor": mel.floor,
        "fmin": fmin,
        "fmax": rate / 2 if mel.fmax is None else mel.fmax,
        "rate": rate,
    }


def _bands(settings: dict[str, Any], stft: STFT) -> Bands:
    """Bands of settings."""
    options = {name: settings[name] for name in ("fmin", "fmax", "power")}
    options["log"] = None if settings["log"] == "none" else settings["log"]
    sizes = settings["n_mels"], stft.n_fft, settings["rate"]
    if settings["scale"] == "kaldi":
        return Bands.kaldi(*sizes, **options)
    norm = None if settings["norm"] == "none" else settings["norm"]
    options |= {name: settings[name] for name in _CONVENTIONS if settings[name] is not None}
    return Bands.mel(*sizes, scale=settings["scale"], norm=norm, **options)
