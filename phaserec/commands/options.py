"""Options of the command line that several commands have, each declared once.

A group of options is a class with an attribute for each: the decorator of the group declares them,
and ``Group(options)`` takes them out of what a command was given. Only click is imported, so that
help is quick; :mod:`.registries` has the options that registries make.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


def together(*options: Callable[[Any], Any]) -> Callable[[Command], Command]:
    """Several arguments and options as one decorator, in this order in the help."""

    def decorate(command: Any) -> Any:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


class Group:
    """What a group of options was given; its attributes are annotated, which costs no time."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        vars(self).update({name: options[name] for name in self.names()})

    @classmethod
    def names(cls) -> list[str]:
        """Names of its options."""
        return list(cls.__annotations__)


def without(options: Mapping[str, Any], *groups: type[Group]) -> dict[str, Any]:
    """Options that belong to none of the groups, such as hyper-parameters."""
    taken = {name for group in groups for name in group.names()}
    return {name: value for name, value in options.items() if name not in taken}


class Signals(Group):
    """Files that a command reads, and what they do not say themselves."""

    mixture: str | None
    estimates: Sequence[str]
    magnitudes: str | None
    references: Sequence[str]
    rate: int | None
    length: int | None
    remainder: bool

    @property
    def files(self) -> list[str]:
        """Every file that is read."""
        named = [self.mixture, *self.estimates, self.magnitudes, *self.references]
        return [name for name in named if name is not None]

    @property
    def folder(self) -> str | None:
        """MIXTURE where it is a folder of them."""
        return self.mixture if self.mixture is not None and os.path.isdir(self.mixture) else None

    @property
    def alone(self) -> bool:
        """Whether there are magnitudes and no mixture."""
        return self.mixture is None and self.magnitudes is not None

    @property
    def shipped(self) -> bool:
        """Whether nothing is named, and the example that ships is meant."""
        return self.mixture is None and self.magnitudes is None


signal_options = together(
    click.argument("mixture", required=False),
    click.option(
        "--estimates",
        multiple=True,
        metavar="FILE...",
        help="Audio of the estimated sources; magnitudes are kept and phases recovered.",
    ),
    click.option(
        "--remainder",
        is_flag=True,
        help="Take what the estimates leave of MIXTURE as one more source.",
    ),
    click.option(
        "--magnitudes",
        metavar="FILE",
        help="npz or npy with magnitudes (J, F, T), or an npz with (F, T) for each source by name; "
        "also sr, length, n_fft, hop_length, win_length. Without MIXTURE they are inverted one by "
        "one.",
    ),
    click.option(
        "--references",
        multiple=True,
        metavar="FILE...",
        help="Audio of the true sources, to report SDR.",
    ),
    click.option("--rate", type=int, help="Sample rate in Hz, for magnitudes without MIXTURE."),
    click.option("--length", type=int, help="Samples to return, for magnitudes without MIXTURE."),
)


class Corpus(Group):
    """Many recordings, and what works on them."""

    batch: str | None
    jobs: int | None
    scheduler: str | None
    shard: str | None


corpus_options = together(
    click.option(
        "--batch",
        metavar="PATH",
        help="Do a whole corpus: a folder, or a manifest (CSV, JSON lines, wav.scp, cuts).",
    ),
    click.option("--jobs", type=int, help="Processes of a corpus [one for each core]."),
    click.option(
        "--scheduler", metavar="ADDRESS", help="Dask cluster to do it, such as tcp://host:8786."
    ),
    click.option("--shard", metavar="I/N", help="Do each N-th of it from the I-th on."),
)


class Mel(Group):
    """Mel values in place of magnitudes, and what they are; None is what librosa or Kaldi have."""

    mel: str | None
    analyse: str | None
    n_mels: int | None
    mel_scale: str
    mel_norm: str
    mel_power: float
    log: str | None
    ref: float | None
    floor: float | None
    fmin: float | None
    fmax: float | None
    fixed: bool

    @property
    def given(self) -> bool:
        """Whether there are any."""
        return self.mel is not None or self.analyse is not None


mel_options = together(
    click.option("--mel", metavar="FILE", help="npz or npy with mel values (J, n_mels, T)."),
    click.option(
        "--analyse",
        type=click.Choice(["mel", "magnitudes"]),
        help="Make mel values, or magnitudes, of MIXTURE and get it back from them.",
    ),
    click.option("--n-mels", type=int, help="Mel bands to analyse [80]."),
    click.option(
        "--mel-scale",
        type=click.Choice(["slaney", "htk", "kaldi"]),
        default="slaney",
        show_default=True,
        help="Whose mel bands; kaldi also has its filters, from 20 Hz, and --log ln.",
    ),
    click.option(
        "--mel-norm",
        type=click.Choice(["slaney", "none"]),
        default="slaney",
        show_default=True,
        help="Bands of unit area, or of peak 1 (torchaudio).",
    ),
    click.option(
        "--mel-power", type=float, default=2.0, show_default=True, help="Power that is summed."
    ),
    click.option(
        "--log", type=click.Choice(["none", "ln", "log10", "db"]), help="Logarithm taken [none]."
    ),
    click.option(
        "--ref", type=float, help="What the logarithm is relative to, as of power_to_db [1]."
    ),
    click.option(
        "--floor",
        type=float,
        help="Least value that the logarithm is taken of, as amin of power_to_db [1e-10].",
    ),
    click.option("--fmin", type=float, help="Lowest frequency of the bands in Hz [0]."),
    click.option("--fmax", type=float, help="Highest one [half the sample rate]."),
    click.option(
        "--fixed", is_flag=True, help="Keep the magnitudes first found for mel values; quicker."
    ),
)


class Transform(Group):
    """The transform; None is what the files, a preset or the defaults say."""

    n_fft: int | None
    hop_length: int | None
    win_length: int | None
    window: str | None
    pad_mode: str | None


transform_options = together(
    click.option("--n-fft", type=int, help="Transform length in samples [1024]."),
    click.option("--hop-length", type=int, help="Hop in samples [n_fft // 4]."),
    click.option("--win-length", type=int, help="Window length in samples [n_fft]."),
    click.option("--window", help="Window, as scipy names it [hann]."),
    click.option("--pad-mode", help="Centre padding, as numpy.pad names it [constant]."),
)


class Beginning(Group):
    """Where iterations start from, and on what they run."""

    init: str | None
    seed: int | None
    device: str
    machine: str | None


beginning_options = together(
    click.option("--seed", type=int, help="Seed of random phases."),
    click.option("--device", default="cpu", show_default=True, help="cpu, or a torch device."),
    click.option(
        "--machine",
        type=click.Choice(["kernel", "arrays"]),
        help="Pin what runs on a cpu [the one that is done first].",
    ),
)

report_option = click.option(
    "--report", metavar="FILE", help="Write an HTML page to listen to and look at."
)
seconds_option = click.option(
    "--report-seconds",
    "seconds",
    default=30.0,
    show_default=True,
    help="Seconds of sound, from the beginning, in the report.",
)
subtype_option = click.option(
    "--subtype", help="Sample format, e.g. PCM_16 [FLOAT, or what the kind of file has]."
)
table_options = together(
    click.option(
        "--csv", "csv_file", metavar="FILE", help="Also write the scores as CSV; - prints."
    ),
    click.option(
        "--json", "json_file", metavar="FILE", help="Also write everything as JSON; - prints it."
    ),
)
json_option = click.option(
    "--json", "json_file", metavar="FILE", help="Write it as JSON; - prints it."
)
