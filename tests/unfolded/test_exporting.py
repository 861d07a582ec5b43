"""The whole separator compiled and exported, and torch's transforms of functions on layers."""

import shutil
import subprocess
import sys
import warnings

import pytest
import torch

import phaserec
from phaserec import STFT
from phaserec.algorithms import ALGORITHMS
from unfolded import GRUMasks, Separator, UnfoldedInversion, exporting

STFT16 = STFT(16, 4)
HOPS = torch.export.Dim("hops", min=8)

# Those of other packages, which entry points add, have tests of their own.
NAMES = [name for name, e in ALGORITHMS.items() if e.step.__module__.startswith("phaserec.")]


def problem(hops):
    sources = torch.randn(2, 4 * hops, dtype=torch.float64)
    return STFT16(sources).abs(), sources.sum(0)


def separator(stft=STFT16, **options):
    estimator = GRUMasks(2, stft=stft, sample_rate=8000, n_bands=5, hidden=7, n_layers=1)
    return Separator(estimator, "mix-incons", 2, **options).eval()


@pytest.mark.parametrize(
    "name",
    [
        *("griffin-lim", "accelerated-griffin-lim", "raar", "hybrid", "misi", "aux"),
        *(pytest.param(name, marks=pytest.mark.slow) for name in NAMES),
    ],
)
def test_layers_of_any_length(name):
    # β decides which formula there is, so that it cannot be trained in a program.
    trainable = {"mu": "layer"} if name == "bregmisi" else None
    net = UnfoldedInversion(name, 2, stft=STFT16, trainable=trainable, momentum=0.3).double()
    program = torch.export.export(
        net, problem(20), dynamic_shapes=({2: HOPS + 1}, {0: 4 * HOPS})
    ).module()
    for hops in (8, 20, 47):
        V, x = problem(hops)
        # Of a start that looks at numbers a program has no part.
        expected = net(V, x, "mixture")
        torch.testing.assert_close(program(V, x), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("stft", [STFT16, STFT(16, 4, center=False, window="hamming")])
def test_windows_that_see_the_edges_and_that_do_not(stft):
    model = separator(stft, learn_windows=True)
    program = exporting.separator_program(model).module()
    for hops in (9, 33):
        x = torch.randn(1, 1, 4 * hops + (0 if stft.center else 16))
        with torch.no_grad():
            torch.testing.assert_close(program(x), model(x), rtol=1e-5, atol=1e-6)


def test_a_fixed_length_with_copies_at_the_edges():
    model = separator(STFT(16, 4, pad_mode="reflect"))
    with pytest.raises(ValueError, match=r"Separator cannot be exported by torch"):
        exporting.separator_program(model)
    program = exporting.separator_program(model, channels=2, frames=12).module()
    x = torch.randn(1, 2, 44)
    with torch.no_grad():
        torch.testing.assert_close(program(x), model(x), rtol=1e-5, atol=1e-6)


@pytest.mark.filterwarnings("ignore")
def test_compiled_it_gives_the_same_and_is_trained():
    model = separator()
    x = torch.randn(2, 1, 80)
    compiled = torch.compile(model, backend="aot_eager")
    torch.testing.assert_close(compiled(x), model(x), rtol=1e-5, atol=1e-6)
    parameters = [p for p in model.parameters() if p.requires_grad]
    for a, b in zip(
        torch.autograd.grad(compiled(x).square().sum(), parameters),
        torch.autograd.grad(model(x).square().sum(), parameters),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["export", "compile"])
def test_the_shipped_model(how):
    if how == "compile" and shutil.which("g++") is None:
        pytest.skip("torch.compile needs a C++ compiler")
    model, x = Separator.from_pretrained(), 0.1 * torch.randn(1, 1, 256 * 60)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        run = torch.compile(model)
        if how == "export":
            run = exporting.separator_program(model).module()
        torch.testing.assert_close(run(x), model(x), rtol=0, atol=1e-5)


def test_onnx_of_an_estimator(tmp_path):
    pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    model = separator()
    (tmp_path / "e.onnx").write_bytes(exporting.estimator_onnx(model))
    session = runtime.InferenceSession(tmp_path / "e.onnx")
    for hops in (10, 77):
        x = torch.randn(1, 1, 4 * hops)
        X = STFT16(x)
        given = {"mixture": x.numpy(), "pairs": torch.view_as_real(X).numpy()}
        (y,) = session.run(None, {i.name: given[i.name] for i in session.get_inputs()})
        with torch.no_grad():
            torch.testing.assert_close(torch.from_numpy(y), model.estimator(x, X))


def test_transforms_of_functions():
    net = UnfoldedInversion("mix-incons", 2, stft=STFT16).double()
    V, x = problem(20)
    W, y = problem(20)
    both = torch.func.vmap(net)(torch.stack([V, W]), torch.stack([x, y]))
    torch.testing.assert_close(both, torch.stack([net(V, x), net(W, y)]))
    parameters = dict(net.named_parameters())

    def energy(values, V, x):
        return torch.func.functional_call(net, values, (V, x)).square().sum()

    each = torch.func.vmap(torch.func.grad(energy), (None, 0, 0))
    found = each(parameters, torch.stack([V, W]), torch.stack([x, y]))
    for k, (V_k, x_k) in enumerate(((V, x), (W, y))):
        expected = torch.autograd.grad(energy(parameters, V_k, x_k), parameters.values())
        for name, gradient in zip(parameters, expected, strict=True):
            torch.testing.assert_close(found[name][k], gradient)
    _, tangent = torch.func.jvp(lambda scale: net(scale * V, x), (x.new_ones(()),), (x[0] * 0 + 1,))
    step = 1e-6
    slope = (net((1 + step) * V, x) - net((1 - step) * V, x)) / (2 * step)
    torch.testing.assert_close(tangent, slope, rtol=1e-5, atol=1e-6)


def test_values_are_checked_where_they_are_known():
    V, x = problem(9)
    with pytest.raises(ValueError, match="non-negative"):
        phaserec.Problem(-V, x, stft=STFT16)
    code = "import sys, phaserec; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
