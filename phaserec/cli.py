"""The command line: options and errors. What a command does is in :mod:`phaserec.commands.invert`.

Only click is imported at the top, so that ``phaserec --help`` answers at once.
"""

import sys
from collections.abc import Callable, Sequence
from typing import Any

import click

from phaserec import __version__
from phaserec.commands.console import run_command

_LISTS = ("--estimates", "--references")


class HyperCommand(click.Command):
    """Has an option for every hyper-parameter of the registry."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        return [*super().get_params(ctx), *_hyper_options()]


class InvertCommand(HyperCommand):
    """Takes several files after one option."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, _spread_lists(args))


def _spread_lists(args: Sequence[str]) -> list[str]:
    """Write ``--estimates a b`` as ``--estimates a --estimates b``."""
    spread: list[str] = []
    current = None
    for arg in args:
        if arg in _LISTS:
            current = arg
            spread.append(arg)  # without a value after it, click says that one is missing
        elif arg.startswith("-") and arg != "-":
            current = None
            spread.append(arg)
        elif current is not None and spread[-1] != current:
            spread += [current, arg]
        else:
            spread.append(arg)
    return spread


def _hyper_options() -> list[click.Parameter]:
    from phaserec.algorithms import ALGORITHMS

    users: dict[str, list[str]] = {}
    for entry in ALGORITHMS.values():
        for hyper in entry.hyper:
            users.setdefault(hyper.name, []).append(f"{entry.name} [{hyper.default}]")
    users["momentum"].append("any other [0]")
    return [
        click.Option([f"--{name.replace('_', '-')}", name], help=", ".join(where))
        for name, where in sorted(users.items())
    ]


def _together(*options: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Several arguments and options as one decorator, in this order in the help."""

    def decorate(command: Any) -> Any:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


_inputs = _together(
    click.argument("mixture", required=False),
    click.option(
        "--estimates",
        multiple=True,
        metavar="FILE...",
        help="Audio of the estimated sources; magnitudes are kept and phases recovered.",
    ),
    click.option(
        "--magnitudes",
        metavar="FILE",
        help="npz or npy with magnitudes (J, F, T); without MIXTURE they are inverted one by one.",
    ),
    click.option(
        "--references",
        multiple=True,
        metavar="FILE...",
        help="Audio of the true sources, to report SDR.",
    ),
)
_start_and_transform = _together(
    click.option(
        "--init",
        type=click.Choice(["mixture", "random", "zero", "estimates"]),
        help="Initial phase [mixture; alone: random].",
    ),
    click.option("--seed", type=int, help="Seed of random phases."),
    click.option("--n-fft", type=int, help="Transform length in samples [1024]."),
    click.option("--hop-length", type=int, help="Hop in samples [n_fft // 4]."),
    click.option("--win-length", type=int, help="Window length in samples [n_fft]."),
    click.option("--window", help="Window, as scipy names it [hann]."),
    click.option("--rate", type=int, help="Sample rate in Hz, for magnitudes without MIXTURE."),
    click.option("--length", type=int, help="Samples to return, for magnitudes without MIXTURE."),
    click.option("--device", default="cpu", show_default=True, help="cpu, or a torch device."),
)
_report_seconds = click.option(
    "--report-seconds",
    "seconds",
    default=30.0,
    show_default=True,
    help="Seconds of sound, from the beginning, in the report.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, package_name="phaserec")
@click.option("--debug", is_flag=True, expose_value=False, help="Show tracebacks (any command).")
def cli() -> None:
    """Get the phase back: iterative spectrogram inversion for audio."""


@cli.command(cls=InvertCommand)
@_inputs
@click.option("--preset", metavar="FILE", help="Settings of phaserec tune; other options override.")
@click.option("--algo", metavar="NAME", help="Algorithm [aux; alone: fast-griffin-lim].")
@click.option("--n-iter", type=int, help="Number of iterations [20].")
@_start_and_transform
@click.option("-o", "--output", metavar="DIR", help="Folder for the results, or - [recovered].")
@click.option("--subtype", default="FLOAT", show_default=True, help="Sample format, e.g. PCM_16.")
@click.option("--trace", is_flag=True, help="Print objective (and SDR) at every iteration.")
@click.option("--report", metavar="FILE", help="Write an HTML page to listen to and look at.")
@_report_seconds
def invert(**options: Any) -> None:
    """Recover the sources of MIXTURE from their magnitudes.

    Without MIXTURE and magnitudes it runs on an example that ships with the package. "-" reads
    MIXTURE from standard input and then writes to standard output, sources one after the other as
    channels of one WAV file.
    """
    from phaserec.commands.invert import run

    run(**options)


@cli.command(cls=InvertCommand)
@_inputs
@click.option(
    "--algo",
    multiple=True,
    metavar="NAME[:HYPER=VALUE,...]",
    help="Algorithm, once for each [three for the inputs].",
)
@click.option("--n-iter", default=20, show_default=True, help="Number of iterations.")
@_start_and_transform
@click.option("-o", "--output", metavar="FILE", default="report.html", show_default=True)
@_report_seconds
def report(**options: Any) -> None:
    """Compare algorithms on MIXTURE on one HTML page, to listen to and look at.

    The page holds all sound and images and needs no network. Without MIXTURE and magnitudes it
    shows an example that ships with the package. --sigma 0.5 goes to every algorithm that has the
    hyper-parameter, --algo aux:sigma=0.5 to one.
    """
    from phaserec.commands.report import run

    run(**options)


@cli.command(cls=HyperCommand)
@click.argument("folder")
@click.option("--test", metavar="DIR", help="Held-out folder; must share no recording with FOLDER.")
@click.option("--estimates", metavar="DIR", help="ITEM/SOURCE.wav to take magnitudes of [oracle].")
@click.option("--test-estimates", metavar="DIR", help="The same for the items of --test.")
@click.option("--algo", metavar="A,B", default="aux", show_default=True, help="Algorithms to try.")
@click.option("--n-iter", default=20, show_default=True, help="Most iterations.")
@click.option("--strategy", default="grid", show_default=True, help="grid or halving.")
@click.option("--score", default="si-sdr", show_default=True, help="si-sdr, sdr or snr.")
@click.option("--source", metavar="NAME", help="Source that counts [the mean over all].")
@click.option("--statistic", default="median", show_default=True, help="median or mean over items.")
@click.option("--seed", default=0, show_default=True, help="Which items halving begins with.")
@click.option("--jobs", type=int, help="Threads [one for each core].")
@click.option("--n-fft", default=1024, show_default=True, help="Transform length in samples.")
@click.option("--hop-length", type=int, help="Hop in samples [n_fft // 4].")
@click.option("--win-length", type=int, help="Window length in samples [n_fft].")
@click.option("--window", default="hann", show_default=True, help="Window, as scipy names it.")
@click.option("-o", "--output", metavar="FILE", default="preset.json", show_default=True)
def tune(**options: Any) -> None:
    """Find algorithm, hyper-parameters and iterations on the mixtures of FOLDER; write a preset.

    FOLDER holds clean/ and noisy/, or mix/ and s1/, s2/ …, or a folder with mixture.wav and a file
    for each source for every item. Hyper-parameters take several values, such as --sigma 0,0.1,1;
    --sigma is by default 0, 0.001, … 1000.
    """
    from phaserec.commands.tune import run

    run(**options)


@cli.command()
@click.argument("reference")
@click.argument("estimate")
@click.option(
    "--mixture", metavar="PATH", help="Mixtures, for improvements: a folder, or one file for all."
)
@click.option(
    "--metrics",
    metavar="NAMES",
    help="Names with commas, or all [si-sdr,sdr; with --mixture also si-sdri,sdri].",
)
@click.option("--permute", is_flag=True, help="Match sources and estimates by the best SI-SDR.")
@click.option(
    "--layout",
    type=click.Choice(["files", "folders", "speakers"]),
    help="Items are the files, the folders of sources, or the files of one name in the folders of "
    "the speakers [what REFERENCE looks like].",
)
@click.option("--target", metavar="NAME", help="The estimate of ITEM is ITEM/NAME.wav.")
@click.option("--csv", "csv_file", metavar="FILE", help="Also write the scores as CSV.")
@click.option("--json", "json_file", metavar="FILE", help="Also write scores and summary as JSON.")
@click.option("--report", metavar="FILE", help="Also write them as an HTML page.")
@click.option("--jobs", type=int, help="Processes [one for each core].")
@click.option("--rate", type=int, help="Sample rate in Hz to convert all files to.")
@click.option("--n-fft", default=1024, show_default=True, help="Transform of spectral metrics.")
@click.option("--hop-length", type=int, help="Its hop in samples [n_fft // 4].")
def evaluate(**options: Any) -> None:
    """Score the estimates in ESTIMATE against their references in REFERENCE.

    Both are files, or both are folders whose files match by name. Prints the scores, and their
    mean and median with 95 % bootstrap intervals. The exit code is 1 if some items could not be
    scored (standard error says which and why), and 2 for bad input.
    """
    from phaserec.commands.evaluate import run

    if run(**options):
        sys.exit(1)


@cli.command(name="list")
def list_algorithms() -> None:
    """Show every algorithm with its hyper-parameters and source."""
    from phaserec.algorithms import ALGORITHMS

    for entry in ALGORITHMS.values():
        hyper = " ".join(f"--{h.name.replace('_', '-')} {h.default}" for h in entry.hyper)
        click.echo(f"{entry.name:<24}{hyper}")
        click.echo(f"    {entry.summary}")
        click.echo(f"    {entry.cite}" if entry.cite else "    (no source given)")


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line; bad input ends with one line on stderr and exit code 2.

    Parameters
    ----------
    args : sequence of str, optional
        Arguments; default those of the process.
    """
    run_command(cli, "phaserec", args)


if __name__ == "__main__":
    main()
