"""Modules in place of torchaudio's: its documented formulas, written out with torch.stft."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from phaserec import STFT  # noqa: E402
from phaserec.inverse import mel_filters  # noqa: E402
from phaserec.transforms import GriffinLim, InverseMelScale, InverseSpectrogram  # noqa: E402


def noise(*shape, dtype=torch.float64, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def griffin_lim(specgram, window, n_fft, hop, win, power, n_iter, momentum, length, rand_init):
    """torchaudio.functional.griffinlim as its documentation and paper have it."""
    momentum = momentum / (1 + momentum)
    shape = specgram.shape
    V = specgram.reshape(-1, *shape[-2:]) ** (1 / power)
    kind = torch.complex64 if V.dtype == torch.float32 else torch.complex128
    angles = torch.rand(V.shape, dtype=kind) if rand_init else torch.ones(V.shape, dtype=kind)
    before = 0.0
    options = {"hop_length": hop, "win_length": win, "window": window}
    for _ in range(n_iter):
        x = torch.istft(V * angles, n_fft, **options, length=length)
        new = torch.stft(x, n_fft, **options, pad_mode="reflect", return_complex=True)
        angles = new - momentum * before
        angles = angles / (angles.abs() + 1e-16)
        before = new
    x = torch.istft(V * angles, n_fft, **options, length=length)
    return x.reshape(*shape[:-2], -1)


@pytest.mark.parametrize("momentum", [0.0, 0.99])
@pytest.mark.parametrize("rand_init", [True, False])
@pytest.mark.parametrize("sizes", [(64, 64, 16, None), (64, 48, 12, 200), (60, 60, 30, None)])
def test_griffin_lim(sizes, rand_init, momentum):
    n_fft, win, hop, length = sizes
    frames = 18 if length is None else 1 + length // hop
    V = noise(2, 3, n_fft // 2 + 1, frames)
    module = GriffinLim(
        *(n_fft, 6, win, hop, torch.hamming_window, 2.0, {"periodic": False}, momentum),
        length=length,
        rand_init=rand_init,
    )
    torch.manual_seed(3)
    ours = module(V)
    torch.manual_seed(3)
    window = torch.hamming_window(win, periodic=False)  # single precision, as the buffer
    theirs = griffin_lim(
        *(V, window.double(), n_fft, hop, win, 2.0, 6, momentum, length, rand_init)
    )
    assert ours.shape == theirs.shape
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


def test_the_true_phase_is_where_it_stays():
    x = noise(1, 512) - 0.5
    module = GriffinLim(64, n_iter=3, hop_length=16, power=1, length=512)
    S = STFT(64, 16, pad_mode="reflect")(x)
    torch.testing.assert_close(module(S.abs(), init=S), x, rtol=1e-6, atol=1e-6)


def test_inverse_mel_scale():
    m = noise(2, 20, 7)
    module = InverseMelScale(65, 20, 16000, norm="slaney", mel_scale="slaney").double()
    filters = torch.from_numpy(mel_filters(20, 128, 16000))
    theirs = torch.relu(torch.linalg.lstsq(filters[None], m, driver="gelsd").solution)
    # The buffer is in single precision.
    torch.testing.assert_close(module(m), theirs, rtol=1e-4, atol=1e-5 * float(theirs.max()))
    assert set(module.state_dict()) == {"fb"}
    torch.testing.assert_close(module.fb, filters.T.float().double())


@pytest.mark.parametrize("normalized", [False, True, "frame_length"])
@pytest.mark.parametrize("onesided", [True, False])
@pytest.mark.parametrize(("pad", "length"), [(0, None), (0, 301), (0, 250), (0, 400), (10, 281)])
def test_inverse_spectrogram(pad, length, onesided, normalized):
    S = torch.complex(noise(2, 33, 20), noise(2, 33, 20, seed=1))
    if not onesided:
        S = torch.complex(noise(2, 64, 20), noise(2, 64, 20, seed=1))
    module = InverseSpectrogram(
        *(64, None, 16, pad, torch.hann_window, normalized), onesided=onesided
    )
    scaled = S * module.window.double().square().sum().sqrt() if normalized is True else S
    whole = None if length is None else length + 2 * pad
    theirs = torch.istft(
        scaled,
        *(64, 16, None, module.window.double()),
        normalized=normalized == "frame_length",
        onesided=onesided,
        length=whole,
    )
    theirs = theirs if not pad else theirs[:, pad:-pad]
    ours = module(S, length)
    assert ours.shape == theirs.shape
    told = 16 * 20 - 1  # samples that frames tell of
    torch.testing.assert_close(ours[..., :told], theirs[..., :told], rtol=1e-9, atol=1e-9)
    assert not ours[..., told:].any()


MODULES = {
    "griffin-lim": lambda: (GriffinLim(64, 3, rand_init=False), noise(2, 33, 12)),
    "mel": lambda: (InverseMelScale(33, 10, 8000), noise(2, 10, 12)),
    "inverse": lambda: (
        InverseSpectrogram(64),
        torch.complex(noise(2, 33, 12), noise(2, 33, 12, seed=1)),
    ),
}


@pytest.mark.parametrize("name", MODULES)
def test_gradients_batches_and_inference(name):
    module, x = MODULES[name]()
    x = x + 0.1
    module = module.double() if name == "mel" else module
    small = x[:1].clone().requires_grad_()
    assert torch.autograd.gradcheck(module, small, atol=1e-4, rtol=1e-3, fast_mode=True)
    torch.testing.assert_close(torch.stack([module(item) for item in x]), module(x))
    with torch.inference_mode():
        torch.testing.assert_close(module(x), module(x.clone()))
    torch.testing.assert_close(module(x), module(x.detach()))


@pytest.mark.parametrize("name", MODULES)
def test_export(name):
    module, x = MODULES[name]()
    x = x.to(torch.complex64 if x.is_complex() else torch.float32)
    program = torch.export.export(module, (x,))
    torch.testing.assert_close(program.module()(x), module(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["griffin-lim", "mel"])
def test_half_precision_is_computed_in_single(name):
    module, x = MODULES[name]()
    half = x.half()
    found = module(half)
    assert found.dtype == torch.float16
    torch.testing.assert_close(found, module(half.float()).half())


def test_silence_is_silence_with_gradients():
    V = torch.zeros(33, 8, requires_grad=True)
    x = GriffinLim(64, 2)(V)
    assert not x.any()
    x.sum().backward()
    assert torch.isfinite(V.grad).all()


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: GriffinLim(momentum=1.0), "momentum=1.0"),
        (lambda: GriffinLim(64)(torch.ones(30, 4)), "specgram has F=30"),
        (lambda: GriffinLim(64)(torch.ones(33)), "specgram is"),
        (lambda: InverseMelScale(33, 10)(torch.ones(9, 4)), "melspec has 9 bands"),
        (lambda: InverseMelScale(33, driver="qr"), "driver='qr'"),
        (lambda: InverseSpectrogram(normalized="loud"), "normalized='loud'"),
        (lambda: InverseSpectrogram(64)(torch.ones(33, 4)), "spectrogram is"),
    ],
)
def test_bad_values_are_named(make, named):
    with pytest.raises(ValueError, match=named):
        make()


def test_states_of_torchaudio_load():
    """The window is a buffer of the same name as torchaudio's, so that states load."""
    assert set(GriffinLim().state_dict()) == {"window"} == set(InverseSpectrogram().state_dict())
    assert np.isclose(float(GriffinLim().window.sum()), 200)
