"""Files that are damaged, foreign or huge: one line before anything is allocated."""

import json
import os
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from phaserec import STFT, _memory, audio
from phaserec._files import read_whole

V = np.ones((2, 33, 50), np.float32)
ALONE = ["invert", "--algo", "griffin-lim", "--n-iter", 1, "--magnitudes"]


@pytest.fixture(autouse=True)
def _arrays(monkeypatch):
    monkeypatch.setenv("PHASEREC_MACHINE", "arrays")


def assert_one_line(result, *words):
    code, out, err = result
    assert (code, out) == (2, "")
    assert err.startswith("phaserec: error: ") and err.count("\n") == 1, err
    for word in words:
        assert word in err, err


def header(shape, version=(1, 0)):
    """First bytes of a npy file."""
    text = str({"descr": "<f4", "fortran_order": False, "shape": shape}).encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY" + bytes(version) + struct.pack("<H", len(text)) + text


def archive(**contents):
    with zipfile.ZipFile("bad.npz", "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in contents.items():
            file.writestr(name.replace("_", "."), content)
    return Path("bad.npz").read_bytes()


def damaged(kind):
    """Bytes of a npz file that is none."""
    np.savez_compressed("good.npz", magnitudes=V, n_fft=64, rate=8000)
    good = bytearray(Path("good.npz").read_bytes())
    if kind == "truncated":
        return good[: len(good) // 2]
    if kind == "zeroed":
        good[60:80] = bytes(20)
    if kind == "encrypted":
        good[good.find(b"PK\1\2") + 8] |= 1
        good[6] |= 1
    if kind == "method":
        good[good.find(b"PK\1\2") + 10] = good[8] = 99
    return good


@pytest.mark.parametrize("kind", ["truncated", "zeroed", "encrypted", "method"])
def test_damaged_archives(phaserec, kind):
    content = damaged(kind)
    Path("bad.npz").write_bytes(content)
    assert_one_line(phaserec(*ALONE, "bad.npz"), "bad.npz is not an npz or npy file of numbers")


@pytest.mark.parametrize(
    ("contents", "word"),
    [
        ({"a_txt": b"hello"}, "'a.txt', which is no array"),
        ({"a_npy": b"no"}, "not an npz"),
        ({"a_npy": header((33, 2**26)) + bytes(4)}, "is not all there"),
        ({"a_npy": header((33, -5)) + bytes(4)}, "is not all there"),
        ({"a_npy": header((33, 2**60)) + bytes(4)}, "is not all there"),
        ({"a_npy": header((33, 5), (3, 0)) + bytes(660)}, "version (3, 0)"),
    ],
)
def test_foreign_archives(phaserec, contents, word):
    archive(**contents)
    assert_one_line(phaserec(*ALONE, "bad.npz"), "bad.npz", word)


def test_files_of_one_array_that_claim_too_much(phaserec):
    Path("bad.npy").write_bytes(header((33, 2**40)) + bytes(4))
    assert_one_line(phaserec(*ALONE, "bad.npy", "--rate", 8000), "bad.npy", "is not all there")


def test_archives_that_explode(phaserec, monkeypatch):
    monkeypatch.setattr(_memory, "total_memory", lambda: 1 << 22)
    archive(magnitudes_npy=header((1, 33, 1 << 16)) + bytes(33 << 18))
    assert Path("bad.npz").stat().st_size < 100_000
    said = phaserec(*ALONE, "bad.npz", "--rate", 8000, "--n-fft", 64)
    assert_one_line(said, "bad.npz would take", "of memory", "shorter signals")


@pytest.mark.parametrize("rate", [8000j, np.inf, 2**31, 1e300, "x"])
def test_rates_in_files(phaserec, rate):
    np.savez("m.npz", a=V[0], n_fft=64, rate=rate)
    assert_one_line(phaserec(*ALONE, "m.npz"), "m.npz", "rate")


@pytest.mark.parametrize("rate", ["0", "-1", "2147483648", "99999999999999999999"])
def test_rates_that_are_typed(phaserec, rate):
    np.savez("m.npz", a=V[0], n_fft=64)
    soundfile.write("a.wav", np.ones(100), 8000)
    said = f"--rate {rate} must be a sample rate"
    assert_one_line(phaserec(*ALONE, "m.npz", "--rate", rate), said)
    assert_one_line(phaserec("evaluate", "a.wav", "a.wav", "--rate", rate), said)


@pytest.mark.parametrize(
    "options",
    [
        ["--n-fft", 99999999999],
        ["--hop-length", 99999999999],
        ["--n-fft", 2**62],
    ],
)
def test_transforms_that_do_not_fit(phaserec, options):
    assert_one_line(phaserec("invert", *options), "of memory, but there are", "n_fft=1024")
    soundfile.write("a.wav", np.ones(100), 8000)
    assert_one_line(phaserec("evaluate", "a.wav", "a.wav", *options), "of memory", "hop_length=")


@pytest.mark.parametrize("option", ["--n-fft", "--hop-length", "--win-length", "--n-iter"])
def test_numbers_beyond_any_machine(phaserec, option):
    name = option[2:].replace("-", "_")
    assert_one_line(phaserec("invert", option, 10**400), f"{name}=1000", "to 2⁶³ − 1")


def test_spectrograms_that_do_not_fit(monkeypatch):
    monkeypatch.setattr(_memory, "total_memory", lambda: 1 << 22)
    stft = STFT(1024, 1)
    with pytest.raises(ValueError, match=r"a spectrogram of 10265130 bins would take 0\.3 GiB"):
        stft(np.zeros((2, 10_004)))


def claim(samples):
    """A FLAC file whose header tells of so many samples."""
    soundfile.write("x.flac", 0.1 * np.ones(4000), 8000)
    content = bytearray(Path("x.flac").read_bytes())
    content[21] = content[21] & 0xF0 | samples >> 32
    content[22:26] = struct.pack(">I", samples & 0xFFFFFFFF)
    Path("x.flac").write_bytes(content)
    return "x.flac"


def test_headers_that_claim_too_much(phaserec):
    assert_one_line(
        phaserec("invert", claim(2**36 - 1), "--estimates", "x.flac"),
        "x.flac, which tells of 68719476735 samples",
        "512.0 GiB",
    )


def test_headers_that_tell_no_length(phaserec):
    said = phaserec("invert", claim(0), "--estimates", "x.flac")
    assert_one_line(said, "x.flac does not tell how long it is", "WAV")


def test_resampling_that_does_not_fit(monkeypatch):
    monkeypatch.setattr(_memory, "total_memory", lambda: 1 << 22)
    with pytest.raises(ValueError, match=r"4000 samples at 2000000000 in place of 8000 Hz would"):
        audio.resample(np.zeros((1, 4000)), 8000, 2_000_000_000)


def test_what_has_no_header(phaserec):
    Path("x.raw").write_bytes(bytes(100))
    assert_one_line(phaserec("invert", "x.raw", "--estimates", "x.raw"), "x.raw has no header")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_pipes_in_folders_are_no_recordings(phaserec):
    for folder in ("true", "estimated"):
        Path(folder).mkdir()
        os.mkfifo(f"{folder}/pipe.wav")
        soundfile.write(f"{folder}/a.wav", np.arange(100) / 100, 8000)
    code, out, err = phaserec("evaluate", "true", "estimated", "--jobs", 1)
    assert code == 0 and "pipe" not in out + err


def test_what_does_not_end_is_not_read_to_its_end():
    class Endless:
        def read(self, size):
            return bytes(size)

    with pytest.raises(ValueError, match="it does not end within 4 MiB"):
        read_whole(Endless(), "it", 1 << 22)


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="no such device on this system")
def test_devices_are_no_settings(phaserec):
    resource = pytest.importorskip("resource")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert_one_line(phaserec("invert", "--preset", "/dev/zero"), "/dev/zero does not end")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before + (2 << 20)  # KiB


def test_folders_are_no_settings(phaserec, tmp_path):
    assert_one_line(phaserec("invert", "--preset", tmp_path), f"{tmp_path}: Is a directory")


PRESET = {
    "kind": "phaserec preset",
    "format": 1,
    "algorithm": "aux",
    "n_iter": 2,
    "hyper": {"sigma": 0.5},
    "stft": {"n_fft": 1024},
}
ODD = [None, True, [], {}, "x", 1e400, -1, [[1]], {"a": 1}, 10**30, 0.5, [0, 0], float("nan")]


def odd_presets():
    for key in ("kind", "format", "algorithm", "n_iter", "hyper", "stft", "tuning"):
        yield from (PRESET | {key: value} for value in ODD)
    for key in ("n_fft", "hop_length", "win_length", "window", "center", "pad_mode", "zzz"):
        yield from (PRESET | {"stft": {key: value}} for value in ODD)
    for key in ("sigma", "mixing", "zzz"):
        yield from (PRESET | {"hyper": {key: value}} for value in ODD)


def test_presets_of_odd_types(phaserec, monkeypatch):
    monkeypatch.setattr("phaserec.commands.invert.write", lambda *args: None)
    for preset in odd_presets():
        Path("p.json").write_text(json.dumps(preset))
        code, out, err = phaserec("invert", "--preset", "p.json", "--n-iter", 0)
        if code:
            assert_one_line((code, out, err), "p.json")


@pytest.mark.parametrize("text", ["[" * 100_000, '{"kind":' * 100_000, '{"n":' + "9" * 5000 + "}"])
def test_presets_that_break_the_reader(phaserec, text):
    Path("p.json").write_text(text)
    assert_one_line(phaserec("invert", "--preset", "p.json"), "p.json is no preset")


@pytest.mark.parametrize("device", ["meta", "x", ""])
def test_devices_that_do_not_compute(phaserec, device):
    pytest.importorskip("torch")
    said = phaserec("invert", "--device", device, "-o", "new")
    assert_one_line(said, f"--device {device}".strip(), "is not available")


def test_searches_that_do_not_fit(phaserec):
    Path("item").mkdir()
    for name in ("mixture", "a", "b"):
        soundfile.write(f"item/{name}.wav", np.ones(100), 8000)
    assert_one_line(phaserec("tune", ".", "--n-iter", 10**13), "--n-iter 10000000000000 with 8")
