"""The command line: what can be typed. What a command does is in its file in :mod:`.commands`.

Only click is imported at the top, so that ``phaserec --help`` answers at once.
"""

import sys
from collections.abc import Sequence
from typing import Any

import click

from phaserec import __version__
from phaserec.commands.console import run_command
from phaserec.commands.options import (
    beginning_options,
    corpus_options,
    json_option,
    mel_options,
    report_option,
    seconds_option,
    signal_options,
    subtype_option,
    table_options,
    transform_options,
)
from phaserec.commands.program import Program
from phaserec.commands.registries import HyperCommand, InversionCommand, RegistryCommand


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, package_name="phaserec")
@click.option("--debug", is_flag=True, expose_value=False, help="Show tracebacks (any command).")
def cli() -> None:
    """Get the phase back: iterative spectrogram inversion for audio."""


@cli.command(cls=InversionCommand)
@signal_options
@corpus_options
@click.option("--preset", metavar="FILE", help="Settings of phaserec tune; other options override.")
@click.option("--algo", metavar="NAME", help="Algorithm [aux; alone: fast-griffin-lim].")
@click.option("--n-iter", type=int, help="Number of iterations [20].")
@beginning_options
@transform_options
@mel_options
@click.option(
    "-o", "--output", metavar="DIR", help="Folder for the results, a file, or - [recovered]."
)
@click.option("--no-overwrite", is_flag=True, help="Stop where a file to write exists.")
@subtype_option
@click.option("--trace", is_flag=True, help="Print objective (and SDR) at every iteration.")
@click.option(
    "--memory",
    metavar="SIZE",
    help="What to work in, such as 2GB [most of what is free]; longer files are done in blocks.",
)
@json_option
@report_option
@seconds_option
def invert(**options: Any) -> None:
    """Recover the sources of MIXTURE from their magnitudes.

    Without MIXTURE and magnitudes it runs on an example that ships with the package. "-" reads
    MIXTURE from standard input and then writes to standard output, sources one after the other as
    channels of one WAV file. The ending of an output file says its kind, such as speech.flac.

    Mel values, of --mel or --analyse mel, are magnitudes that are known roughly: these follow the
    phases on the way to a sound that has the values (--fixed: they do not). --analyse magnitudes
    forgets the phases of MIXTURE and finds them again, to hear what an algorithm does.

    A folder as MIXTURE is the same as --batch FOLDER. It holds many examples, arranged as for
    evaluate and tune: mixtures, and the recordings of their sources. Those are the estimates; where
    --estimates names another folder, that has them, and the recordings are the references. Results
    are DIR/EXAMPLE/SOURCE.wav, with a record in DIR/EXAMPLE.json; what is done already, with the
    same settings and inputs, is not done again. The exit code is 1 if some examples could not be
    done (standard error says which and why).
    """
    from phaserec.commands.invert import run

    if run(**options):
        sys.exit(1)


@cli.command(cls=InversionCommand)
@signal_options
@click.option(
    "--algo",
    multiple=True,
    metavar="NAME[:HYPER=VALUE,...]",
    help="Algorithm, once for each [three for the inputs].",
)
@click.option("--n-iter", default=20, show_default=True, help="Number of iterations.")
@beginning_options
@transform_options
@click.option("-o", "--output", metavar="FILE", default="report.html", show_default=True)
@seconds_option
@click.option("--lossless", is_flag=True, help="Embed FLAC, not Opus; the page is larger.")
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
@click.option("--score", default="si-sdr", show_default=True, help="si-sdr, sdr, snr, pesq, …")
@click.option("--source", metavar="NAME", help="Source that counts [the mean over all].")
@click.option("--statistic", default="median", show_default=True, help="median or mean over items.")
@click.option("--seed", default=0, show_default=True, help="Which items halving begins with.")
@click.option("--jobs", type=int, help="Threads [one for each core].")
@transform_options
@click.option("-o", "--output", metavar="FILE", default="preset.json", show_default=True)
@table_options
@click.option("--plot", "plot_file", metavar="FILE", help="Draw scores over σ, as .png, .svg, …")
def tune(**options: Any) -> None:
    """Find algorithm, hyper-parameters and iterations on the mixtures of FOLDER; write a preset.

    FOLDER holds clean/ and noisy/, or mix/ and s1/, s2/ …, or a folder with mixture.wav and a file
    for each source for every item. Hyper-parameters take several values, such as --sigma 0,0.1,1;
    --sigma is by default 0, 0.001, … 1000.
    """
    from phaserec.commands.tune import run

    run(**options)


@cli.command(cls=RegistryCommand)
@click.argument("reference")
@click.argument("estimate")
@click.option(
    "--mixture",
    metavar="PATH",
    help="Mixtures, for improvements: a folder, or one file for all [those in REFERENCE].",
)
@click.option(
    "--metrics",
    metavar="NAMES",
    help="Names with commas, or all [si-sdr,sdr; with mixtures also si-sdri,sdri].",
)
@click.option("--permute", is_flag=True, help="Match sources and estimates by the best SI-SDR.")
@click.option(
    "--layout",
    type=click.Choice(["files", "folders", "speakers", "pairs"]),
    help="Items are the files, the folders of sources, the files of one name in the folders of the "
    "speakers, or those in clean/ and noisy/ [what REFERENCE looks like].",
)
@click.option("--target", metavar="NAME", help="The estimate of ITEM is ITEM/NAME.wav.")
@table_options
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


@cli.command(name="list", cls=RegistryCommand)
@json_option
def list_algorithms(**options: Any) -> None:
    """Show every algorithm with its hyper-parameters, source and machine.

    As JSON starts and metrics are listed too.
    """
    from phaserec.commands.list import run

    run(**options)


@cli.command(name="warm-up")
@click.option("--algo", multiple=True, metavar="NAME", help="Algorithm, once for each [all].")
def warm_up(**options: Any) -> None:
    """Compile the fused kernel ahead, for containers, class rooms and continuous integration.

    Without it, work that is short next to compiling runs on the arrays, and longer work waits for
    the compiler once on a machine. Code is kept in PHASEREC_CACHE_DIR or the user's cache folder.
    """
    from phaserec.commands.warm_up import run

    run(**options)


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
