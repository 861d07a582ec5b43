"""``phaserec evaluate``: one evaluation from files to tables."""

import sys
from collections.abc import Iterable, Mapping, Sequence

from tqdm import tqdm

from phaserec import audio
from phaserec.commands.console import command_line
from phaserec.commands.results import check_results_apart, check_targets, words_to, write_results
from phaserec.corpus.layouts import Layout
from phaserec.corpus.workers import Failed
from phaserec.evaluation.matching import Item, match
from phaserec.evaluation.metrics import METRICS, Metric, resolve
from phaserec.evaluation.scoring import DEFAULT, Row, check_mixture, score_files
from phaserec.evaluation.summary import summary
from phaserec.evaluation.tables import to_csv, to_json, to_text
from phaserec.stft import STFT


def run(
    reference: str,
    estimate: str,
    mixture: str | None,
    metrics: str | None,
    permute: bool,
    layout: Layout | None,
    target: str | None,
    csv_file: str | None,
    json_file: str | None,
    report: str | None,
    jobs: int | None,
    rate: int | None,
    n_fft: int,
    hop_length: int | None,
) -> int:
    """Match the files, score them, print the table and write the files.

    Parameters are the options of the command line.

    Returns
    -------
    int
        Number of items that could not be scored; each has been reported on standard error.

    Raises
    ------
    ValueError, OSError
        For anything wrong with the input as a whole; nothing has been written then.
    """
    stft = STFT(n_fft, hop_length)
    if rate is not None:
        audio.check_rate("--rate", rate)
    check_targets(csv_file, json_file, report)
    if report is not None:
        from phaserec.report import check_report

        check_report("--report", report)
    found = match(
        reference, estimate, mixture=mixture, layout=layout, target=target, permute=permute
    )
    check_results_apart((csv_file, json_file, report), found.files)
    mixed = all(item.mixture is not None for item in found.items)
    gains = [f"{name}i" for name in DEFAULT] if mixed else []
    chosen = choose(metrics, [*DEFAULT, *gains], with_mixture=mixed)
    check_mixture(chosen, mixed)
    for path in found.unused:
        note(f"{path} belongs to no reference and is left out")
    failures = dict(found.missing)
    for name, reason in failures.items():
        note(f"{name}: {reason}")
    scores = score_files(
        found.items, metrics=chosen, rate=rate, permute=permute, stft=stft, jobs=jobs
    )
    rows, failed = _collected(found.items, scores)
    failures |= failed
    deliver(rows, failures, chosen, csv_file, json_file, report)
    if failures:
        total = len(found.items) + len(found.missing)
        note(f"{len(failures)} of {total} items could not be scored")
    return len(failures)


def _collected(
    items: Sequence[Item], scores: Iterable[list[Row] | Failed]
) -> tuple[list[Row], dict[str, str]]:
    """Rows, and why items have none, behind a progress bar."""
    rows: list[Row] = []
    failures = {}
    with tqdm(total=len(items), disable=not sys.stderr.isatty(), leave=False) as bar:
        for item, result in zip(items, scores, strict=True):
            bar.update()
            if isinstance(result, Failed):
                failures[item.name] = result.reason
                with bar.external_write_mode(file=sys.stderr):
                    note(f"{item.name}: {result.reason}")
            else:
                rows += result
    return rows, failures


def choose(
    words: str | None, default: Sequence[str], *, with_mixture: bool, program: str = "phaserec"
) -> list[Metric]:
    """Metrics of the option ``--metrics``.

    Parameters
    ----------
    words : str or None
        Names with commas; ``all`` for those that are installed.
    default : sequence of str
        Names where the option is not given.
    with_mixture : bool
        Whether ``all`` has improvements.
    program : str, default "phaserec"
        Who speaks on standard error.

    Returns
    -------
    list of Metric
        Metrics.

    Raises
    ------
    ValueError
        If one is unknown or lacks its package.
    """
    if words is None:
        return resolve(default)
    if words.strip() != "all":
        return resolve([word.strip() for word in words.split(",") if word.strip()])
    possible = [
        entry for entry in METRICS.everything().values() if with_mixture or not entry.improvement
    ]
    absent = [entry.name for entry in possible if not entry.installed]
    if absent:
        note(f"{', '.join(absent)} left out: pip install 'phaserec[eval]'", program)
    return [entry for entry in possible if entry.installed]


def deliver(
    rows: Sequence[Row],
    failures: Mapping[str, str],
    metrics: Sequence[Metric],
    csv_file: str | None,
    json_file: str | None,
    report: str | None = None,
    *,
    program: str = "phaserec",
) -> None:
    """Print the table with its summary, say what is undefined, and write the files.

    Parameters
    ----------
    rows : sequence of Row
        Scores.
    failures : mapping of str to str
        Items without scores, and why.
    metrics : sequence of Metric
        The metrics.
    csv_file, json_file, report : str or None
        Files to write, or ``"-"``; the report is a page.
    program : str, default "phaserec"
        Who speaks on standard error.

    Raises
    ------
    OSError
        If a file cannot be written.
    """
    statistics = summary(rows) if rows else []
    if rows:
        print(to_text(rows, statistics), end="", file=words_to(csv_file, json_file))
    _note_undefined(rows, program)
    texts: dict[str, str] = {}
    if csv_file is not None:
        texts[csv_file] = to_csv(rows)
    if json_file is not None:
        texts[json_file] = to_json(rows, statistics, failures, metrics)
    if report is not None:
        from phaserec.report import render
        from phaserec.report.scores import scores_report

        page = scores_report(rows, statistics, failures, metrics, command=command_line())
        texts[report] = render(page)
    write_results(texts)


def _note_undefined(rows: Sequence[Row], program: str) -> None:
    """Say once why values are undefined, and where."""
    where: dict[str, list[str]] = {}
    for row in rows:
        for text in row.notes:
            where.setdefault(text, []).append(f"{row.item} {row.source}".strip())
    for text, names in where.items():
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        note(f"{', '.join(names[:3])}{more}: {text}", program)


def note(text: str, program: str = "phaserec") -> None:
    """One line on standard error."""
    print(f"{program}: {text}", file=sys.stderr)
