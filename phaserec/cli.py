"""The command line: options and errors. What a command does is in :mod:`phaserec.job`.

Only click is imported at the top, so that ``phaserec --help`` answers at once.
"""

from collections.abc import Sequence
from typing import Any

import click

from phaserec import __version__
from phaserec._console import run_command

_LISTS = ("--estimates", "--references")


class InvertCommand(click.Command):
    """Takes several files after one option, and one option for every hyper-parameter."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, _spread_lists(args))

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        return [*super().get_params(ctx), *_hyper_options()]


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


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, package_name="phaserec")
@click.option("--debug", is_flag=True, expose_value=False, help="Show tracebacks (any command).")
def cli() -> None:
    """Get the phase back: iterative spectrogram inversion for audio."""


@cli.command(cls=InvertCommand)
@click.argument("mixture", required=False)
@click.option(
    "--estimates",
    multiple=True,
    metavar="FILE...",
    help="Audio of the estimated sources; their magnitudes are kept and their phases recovered.",
)
@click.option(
    "--magnitudes",
    metavar="FILE",
    help="npz or npy with magnitudes (J, F, T); without MIXTURE they are inverted one by one.",
)
@click.option(
    "--references",
    multiple=True,
    metavar="FILE...",
    help="Audio of the true sources, to report SDR.",
)
@click.option("--algo", metavar="NAME", help="Algorithm [aux; alone: fast-griffin-lim].")
@click.option("--n-iter", default=20, show_default=True, help="Number of iterations.")
@click.option(
    "--init",
    type=click.Choice(["mixture", "random", "zero", "estimates"]),
    help="Initial phase [mixture; alone: random].",
)
@click.option("--seed", type=int, help="Seed of random phases.")
@click.option("--n-fft", type=int, help="Transform length in samples [1024].")
@click.option("--hop-length", type=int, help="Hop in samples [n_fft // 4].")
@click.option("--win-length", type=int, help="Window length in samples [n_fft].")
@click.option("--window", default="hann", show_default=True, help="Window, as scipy names it.")
@click.option("--rate", type=int, help="Sample rate in Hz, for magnitudes without MIXTURE.")
@click.option("--length", type=int, help="Samples to return, for magnitudes without MIXTURE.")
@click.option("-o", "--output", metavar="DIR", help="Folder for the results, or - [recovered].")
@click.option("--subtype", default="FLOAT", show_default=True, help="Sample format, e.g. PCM_16.")
@click.option("--device", default="cpu", show_default=True, help="cpu, or a torch device.")
@click.option("--trace", is_flag=True, help="Print objective (and SDR) at every iteration.")
def invert(**options: Any) -> None:
    """Recover the sources of MIXTURE from their magnitudes.

    Without MIXTURE and magnitudes it runs on an example that ships with the package. "-" reads
    MIXTURE from standard input and then writes to standard output, sources one after the other as
    channels of one WAV file.
    """
    from phaserec.job import run

    run(**options)


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
