"""The tables of algorithms and starts in the documentation say what the registries say."""

import subprocess
import sys
from io import StringIO
from pathlib import Path
from typing import Annotated, Literal
from xml.etree import ElementTree

import pytest

import phaserec
from phaserec.algorithms import NonNegative, Range
from phaserec.solving import prepare, structural_reason
from phaserec.starts import STARTS, Start

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture
def table(tmp_path, monkeypatch):
    """Build a page with the table only; returns the paragraphs of its cells by name."""
    pytest.importorskip("sphinx", reason="sphinx is not installed")
    pytest.importorskip("numpydoc", reason="numpydoc is not installed")
    if not DOCS.is_dir():
        pytest.skip("the documentation is not installed with the package")
    from sphinx.application import Sphinx
    from sphinx.util.docutils import docutils_namespace

    monkeypatch.setattr(sys, "path", [*sys.path])  # the settings add to it
    source, built = tmp_path / "source", tmp_path / "built"
    source.mkdir()

    def build(directive="algorithms"):
        (source / "index.rst").write_text(f"Page\n====\n\n.. {directive}::\n")
        warnings = StringIO()
        with docutils_namespace():  # the next test registers the same again
            app = Sphinx(source, DOCS, built, built, "xml", status=None, warning=warnings)
            app.build()
        assert warnings.getvalue() == ""
        rows = ElementTree.parse(built / "index.xml").findall(".//tbody/row")
        cells = [[paragraphs(entry) for entry in row] for row in rows]
        return {row[0][0]: row for row in cells}

    return build


def paragraphs(entry):
    return ["".join(paragraph.itertext()) for paragraph in entry]


def test_every_algorithm_has_a_row(table, registry):
    rows = table()
    assert list(rows) == list(registry)
    for name, entry in registry.items():
        (_, _, cite), hyper, objective, machine = rows[name]
        assert cite == entry.cite
        declared = [f"init: {entry.start} unless another is given"] if entry.start else []
        assert hyper[len(entry.hyper) :] == (declared if declared or entry.hyper else ["none"])
        for text, h in zip(hyper, entry.hyper, strict=False):
            assert text.startswith(f"{h.name}={h.default}: ")
        known = "Never increases." if entry.descends else "May increase."
        assert objective[-1] == ("none" if entry.objective is None else known)
        reason = structural_reason(entry)
        assert machine == ["fused kernel" if reason is None else f"arrays: {reason}"]


def test_what_is_registered_appears(table, registry):
    def objective(S, p, **_):
        """Size of ``S``.

        In every bin.
        """

    # Plain text that would be markup: it has to come out as it is.
    @phaserec.algorithm(cite="A*uthor_ & |B|, `2026`", objective=objective)
    def kernel_step(
        S,
        p,
        rho: NonNegative = 0.5,
        share: Annotated[float, Range(0, 1)] = 0.25,
        free: float = 2.0,
        side: Literal["left", "right"] = "left",
        turns: Annotated[int, Range(1)] | Literal["auto"] = "auto",
    ):
        """A step of ``S``.

        And more.
        """
        return p.mix((1 - rho) * S + rho * p.mag(p.cons(S)))

    @phaserec.algorithm
    def array_step(S, p):
        return p.no_such_projector_(S)

    rows = table()
    assert rows["kernel-step"] == [
        ["kernel-step", "A step of S.", "A*uthor_ & |B|, `2026`"],
        [
            "rho=0.5: number ≥ 0",
            "share=0.25: number ≥ 0 and ≤ 1",
            "free=2.0: any number",
            "side=left: left, right",
            "turns=auto: auto, integer ≥ 1",
        ],
        ["Size of S.", "May increase."],
        ["fused kernel"],
    ]
    assert rows["array-step"] == [
        ["array-step", "(no description)", "(no source given)"],
        ["none"],
        ["none"],
        [f"arrays: {structural_reason(registry['array-step'])}"],
    ]


def test_every_start_has_a_row(table, monkeypatch):
    def upside_down(p, rng):
        """Minus ``V``.

        In every bin.
        """

    entry = Start("upside-down", upside_down, "A*uthor_, 2026", True)
    monkeypatch.setitem(STARTS, entry.name, entry)
    rows = table("starts")
    assert list(rows) == list(STARTS)
    assert rows["random"] == [["random", STARTS["random"].summary], ["nothing"]]
    assert rows["mixture"][1] == ["a mixture"]
    assert rows["upside-down"] == [["upside-down", "Minus V.", "A*uthor_, 2026"], ["a mixture"]]


def test_the_machine_is_the_one_that_runs(registry, make_problem, numpy64):
    problem = make_problem(numpy64)
    for entry in registry.values():
        run = prepare(entry, problem, 1, init="random", rng=0)
        assert run.choice.reasons.get("kernel") == structural_reason(entry), entry.name


def test_the_machine_is_found_without_numba():
    code = (
        "import sys; from phaserec.algorithms import resolve; "
        "from phaserec.solving import structural_reason; "
        "structural_reason(resolve('misi')); sys.exit('numba' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_key_and_every_loss_has_a_row(table):
    pytest.importorskip("torch", reason="torch is not installed")
    from unfolded.losses import LOSSES
    from unfolded.training.reading import defaults, sections

    rows = table("configuration")
    keys = {name for _, kind in sections() for name in defaults(kind)}
    assert {title.partition(" = ")[0] for title in rows} == keys
    assert all(meaning for _, (meaning,) in rows.values())
    assert rows["betas = [0.9, 0.999]"][0][1] == "tuple of float"
    assert "stages = [{loss: {terms: {msa: 1.0}}, train: magnitude}" in str(list(rows))
    rows = table("losses")
    assert list(rows) == list(LOSSES)
    assert rows["psa"][0][-1] == LOSSES["psa"].cite and rows["psa"][2] == ["spectrograms"]
    assert [text.partition(":")[0] for text in rows["psa"][1]] == ["stft", "truncate"]
