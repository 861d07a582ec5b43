"""The command line of the networks: options, output and errors.

Only click is imported at the top, so that ``unfolded --help`` answers at once.
"""

import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import chain
from typing import TYPE_CHECKING, Any

import click

from phaserec import __version__
from phaserec.commands.console import run_command
from phaserec.commands.options import (
    report_option,
    seconds_option,
    subtype_option,
    table_options,
)
from phaserec.commands.program import Program
from phaserec.commands.registries import RegistryCommand

if TYPE_CHECKING:
    import numpy as np

    from phaserec.audio import Audio
    from phaserec.report import Report
    from unfolded.separator import Separator


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, package_name="phaserec")
@click.option("--debug", is_flag=True, expose_value=False, help="Show tracebacks (any command).")
def cli() -> None:
    """Train and use networks that unfold phase recovery."""


_model = click.option(
    "--model",
    "model_folder",
    default="speech-enhancement",
    show_default=True,
    metavar="DIR",
    help="Folder of the model, with config.json and model.safetensors, or one that ships.",
)
_device = click.option("--device", default="cpu", show_default=True, help="A torch device.")


@cli.command(cls=RegistryCommand)
@click.argument("config")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--resume", is_flag=True, help="Go on from where the run in its folder stopped.")
def train(config: str, overrides: tuple[str, ...], resume: bool) -> None:
    """Train the model that the YAML file CONFIG describes.

    KEY=VALUE changes an entry of it, such as optimizer.lr=1e-4. Ctrl-C saves the state and stops;
    --resume then goes on as if nothing had happened.

    Several GPUs: accelerate launch --multi_gpu -m unfolded.cli train CONFIG. Several processes on
    CPUs: torchrun --nproc_per_node 2 -m unfolded.cli train CONFIG (accelerate launch --cpu starts
    one, unless it has MPI).
    """
    from pathlib import Path

    from phaserec._files import check_apart
    from unfolded.training.reading import load_config
    from unfolded.training.trainer import SETTINGS, Trainer

    settings = load_config(config, overrides)
    if not resume:
        check_apart([Path(settings.output, SETTINGS)], [config])
    trainer = Trainer(settings, resume=resume)
    if trainer.is_main:
        click.echo(
            f"unfolded: {trainer.world} process(es) on {trainer.accelerator.device.type}, "
            f"{trainer.epoch_steps} steps an epoch",
            err=True,
        )
    with closing(trainer):
        for row in trainer.run():
            if trainer.is_main:
                click.echo(_epoch_line(row))
    if trainer.interrupted:
        if trainer.is_main:
            click.echo(f"unfolded: stopped; --resume goes on from {trainer.folder}", err=True)
        sys.exit(trainer.signals.exit_code)
    if trainer.is_main:
        click.echo(trainer.folder / "best")


def _epoch_line(row: dict[str, Any]) -> str:
    depth = "" if row["depth"] is None else f" ({row['depth']} layers)"
    text = f"stage {row['stage']} {row['train']}{depth}, epoch {row['epoch']}: "
    text += f"loss {row['train_loss']:.5g}"
    if row["valid_loss"] is not None:
        text += f", validation {row['valid_loss']:.5g}"
    if row["si_sdr"] is not None:
        text += f", SI-SDR {row['si_sdr']:.2f} dB"
    if row["si_sdri"] is not None:
        text += f" ({row['si_sdri']:+.2f} dB)"
    return text


@cli.command(cls=RegistryCommand)
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.option(
    "-o",
    "--output",
    default="separated",
    show_default=True,
    metavar="DIR",
    help="Folder for the results.",
)
@_model
@subtype_option
@click.option(
    "--chunk", default=60.0, show_default=True, help="Seconds to separate at once; bounds memory."
)
@report_option
@seconds_option
@_device
def separate(
    inputs: tuple[str, ...],
    output: str,
    model_folder: str,
    subtype: str | None,
    chunk: float,
    report: str | None,
    seconds: float,
    device: str,
) -> None:
    """Separate audio files into their sources, one WAV file each.

    The results of one INPUT are in DIR, those of several in a folder for each. They have its
    length, rate and channels.
    """
    from pathlib import Path

    from phaserec import audio
    from phaserec._files import check_apart, check_folder, distinct, write_files
    from unfolded.inference import check_channels, source_names
    from unfolded.inference import separate as separate_samples
    from unfolded.saving import model_files

    kind = audio.encoding(Path("source.wav"), subtype)[1]
    check_folder(f"-o {output}", Path(output))
    if report is not None:
        from phaserec.report import check_report

        check_report("--report", report, seconds)
        if len(inputs) > 1:
            raise ValueError(f"--report is the page of one INPUT, but there are {len(inputs)}")
    model = _load_model(model_folder, device)
    folders = [Path(output)]
    if len(inputs) > 1:
        folders = [Path(output, stem) for stem in distinct([Path(name).stem for name in inputs])]
    names = source_names(model)
    paths_of = [[folder / f"{name}.wav" for name in names] for folder in folders]
    outputs = [path for paths in paths_of for path in paths]
    outputs += [Path(report)] if report is not None else []
    check_apart(outputs, [*inputs, *model_files(model_folder)])
    if len(inputs) > 1:  # one that is broken is found before any is separated
        for name in inputs:
            if name != "-":
                check_channels(model, len(audio.read(name).samples))
    for name, paths in zip(inputs, paths_of, strict=True):
        recording = audio.read(name)
        if recording.rate != model.sample_rate:
            click.echo(
                f"unfolded: note: {name} has {recording.rate} Hz, the model {model.sample_rate:g}; "
                "resampled there and back",
                err=True,
            )
        sources = separate_samples(
            model, recording.samples, recording.rate, chunk=chunk, overlap=min(1.0, chunk / 4)
        )
        peak = float(abs(sources).max())
        if peak > 1 and not audio.is_float(kind):
            click.echo(
                f"unfolded: warning: samples of {name} reach {peak:.2f} and are clipped in {kind}",
                err=True,
            )
        pages = {}
        if report is not None:
            from phaserec.report import render

            found = dict(zip(names, sources, strict=True))
            page = _separation(model, model_folder, name, recording, found, seconds)
            pages[Path(report)] = render(page).encode()
        sound = audio.encoded(paths, list(sources), recording.rate, subtype=subtype)
        write_files([*paths, *pages], chain(sound, pages.values()))
        for path in [*paths, *pages]:
            click.echo(path)


def _separation(
    model: "Separator",
    model_folder: str,
    name: str,
    recording: "Audio",
    sources: "dict[str, np.ndarray]",
    seconds: float,
) -> "Report":
    """Report of a mixture and its sources by name, each ``(channels, time)``."""
    from pathlib import Path

    from phaserec.commands.console import command_line
    from phaserec.report import Panel, Report, Track

    tracks = [Track("mixture", "mixture", recording.samples)]
    tracks += [
        Track(target, Path(model_folder).name, samples) for target, samples in sources.items()
    ]
    title = "Standard input" if name == "-" else Path(name).name
    return Report(
        title=title,
        summary=f"Separated into {', '.join(sources)} by the model {Path(model_folder).name}.",
        command=command_line(),
        panel=Panel(tracks, recording.rate, model.stft, seconds),
        settings={
            "Sample rate": f"{recording.rate} Hz",
            "Sample rate of the model": f"{model.sample_rate:g} Hz",
            "Duration": f"{recording.samples.shape[-1] / recording.rate:.3f} s",
            "Channels": len(recording.samples),
            "Transform": f"{model.stft.n_fft} points, hop {model.stft.hop_length}",
            "Inversion": model.inversion.entry.name if model.inversion else "mixture phase",
        },
    )


@cli.command(cls=RegistryCommand)
@click.argument("folder")
@_model
@click.option("--target", metavar="NAME", help="Source in clean/ [speech, else the first].")
@click.option(
    "--metrics", metavar="NAMES", help="Names with commas, or all [SNR, SI-SDR, SDR and gains]."
)
@table_options
@_device
def evaluate(
    folder: str,
    model_folder: str,
    target: str | None,
    metrics: str | None,
    csv_file: str | None,
    json_file: str | None,
    device: str,
) -> None:
    """Score a model on the pairs of files in FOLDER/clean and FOLDER/noisy.

    The metrics are those of phaserec evaluate. Names that end with i are gains over the noisy file.
    """
    from pathlib import Path

    from tqdm import tqdm

    from phaserec._files import check_apart
    from phaserec.commands.evaluate import choose, deliver
    from phaserec.commands.results import check_targets
    from phaserec.corpus.folders import audio_files
    from unfolded.inference import SCORES
    from unfolded.inference import evaluate as rows_of
    from unfolded.saving import model_files

    chosen = choose(metrics, SCORES, with_mixture=True, program="unfolded")
    check_targets(csv_file, json_file)
    outputs = [Path(name) for name in (csv_file, json_file) if name is not None]
    recordings = [Path(folder) / name for name in audio_files(folder)]
    check_apart(outputs, [*recordings, *model_files(model_folder)])
    scores = rows_of(_load_model(model_folder, device), folder, target=target, metrics=chosen)
    rows = list(tqdm(scores, disable=not sys.stderr.isatty(), leave=False))
    deliver(rows, {}, chosen, csv_file, json_file, program="unfolded")


@cli.command(cls=RegistryCommand)
@click.option(
    "-o",
    "--output",
    default="separator.pt2",
    show_default=True,
    metavar="FILE",
    help="File for the program: .pt2 of torch.export, or .onnx.",
)
@_model
@click.option(
    "--part",
    type=click.Choice(["separator", "estimator"]),
    default="separator",
    show_default=True,
    help="All of it, or what gives the magnitudes.",
)
@click.option(
    "--channels",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Channels of its input.",
)
@click.option("--frames", type=click.IntRange(1), help="Fixed number T of frames [any].")
def export(output: str, model_folder: str, part: str, channels: int, frames: int | None) -> None:
    """Write a model as a program that runs with torch alone, or as ONNX.

    The separator takes a mixture (1, channels, time) in whole hops of samples, and gives
    waveforms (1, J, channels, time). The estimator takes the mixture (1, channels, time) and
    its spectrogram (1, channels, F, T), in ONNX as real pairs (1, channels, F, T, 2), and gives
    magnitudes (1, J, channels, F, T). ONNX has no complex numbers for the rest.
    """
    from pathlib import Path

    from phaserec._files import check_apart, write_files
    from phaserec.commands.results import check_targets
    from unfolded import exporting
    from unfolded.saving import model_files

    check_targets(output)
    check_apart([Path(output)], model_files(model_folder))
    kind = Path(output).suffix.lower()
    if kind not in (".pt2", ".onnx"):
        raise ValueError(f"-o {output} must end with .pt2 (torch.export) or .onnx")
    if kind == ".onnx" and part == "separator":
        raise ValueError(f"-o {output}: ONNX takes the estimator alone; add --part estimator")
    model = _load_model(model_folder, "cpu")
    if kind == ".onnx":
        content = exporting.estimator_onnx(model, channels=channels, frames=frames)
    else:
        whole = part == "separator"
        program = exporting.separator_program if whole else exporting.estimator_program
        content = exporting.saved(program(model, channels=channels, frames=frames))
    write_files([Path(output)], [content])
    click.echo(output)


def _load_model(folder: str, device: str) -> "Separator":
    from phaserec.commands.devices import check_device
    from unfolded.separator import Separator

    check_device(device)
    return Separator.from_pretrained(folder).to(device)


@contextmanager
def _short_warnings() -> Iterator[None]:
    """Show warnings as one line each."""
    with warnings.catch_warnings():

        def show(message: Any, *_: Any, **__: Any) -> None:
            click.echo(f"unfolded: warning: {' '.join(str(message).split())}", err=True)

        warnings.showwarning = show
        yield


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line; bad input ends with one line on stderr and exit code 2.

    Parameters
    ----------
    args : sequence of str, optional
        Arguments; default those of the process.
    """
    with _short_warnings():
        run_command(cli, "unfolded", args)


if __name__ == "__main__":
    main()
