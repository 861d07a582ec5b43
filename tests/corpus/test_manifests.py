"""Manifests: the same entries from every form, and one line for what is wrong with one."""

import gzip
import json
from itertools import chain, islice
from pathlib import Path

import numpy as np
import pytest
import soundfile

from phaserec.corpus import Entry, Manifest, shard


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    (tmp_path / "lists").mkdir()
    monkeypatch.chdir(tmp_path)


def listed(name, text):
    """Entries of a manifest ``lists/NAME``."""
    path = Path("lists") / name
    path.write_text(text)
    return list(Manifest(path))


def lines(*rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def place(name):
    return Path("lists").resolve() / name


def two():
    """The entries that every form below has, relative to the folder of the manifest."""
    return [
        Entry("x", place("a/x.wav")),
        Entry("y", Path("/far/y.wav"), offset=1.5, duration=2.0),
    ]


def cut(name, path, start, duration, **more):
    recording = {"id": "r", "sources": [{"type": "file", "channels": [0, 1], "source": path}]}
    return {
        "id": name,
        "start": start,
        "duration": duration,
        "channel": 0,
        "type": "MonoCut",
        "recording": recording | {"sampling_rate": 8000, "num_samples": 80000, "duration": 10.0},
    } | more


NEMO = lines(
    {"id": "x", "audio_filepath": "a/x.wav", "text": "words"},
    {"id": "y", "audio_filepath": "/far/y.wav", "offset": 1.5, "duration": 2},
)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("m.jsonl", NEMO),
        ("m.json", "\ufeff" + NEMO.replace("\n", "\r\n\r\n")),
        ("m.csv", "id,audio_filepath,offset,duration\nx,a/x.wav,,\ny,/far/y.wav,1.5,2\n"),
        ("m.tsv", "duration\tid\taudio_filepath\toffset\n\tx\ta/x.wav\t\n2\ty\t/far/y.wav\t1.5\n"),
    ],
)
def test_forms_agree(name, text):
    assert listed(name, text) == two()


def test_a_packed_manifest_is_the_same():
    with gzip.open("lists/m.jsonl.gz", "wt") as file:
        file.write(NEMO)
    assert list(Manifest("lists/m.jsonl.gz")) == two()


def test_kaldi():
    assert listed("wav.scp", "x a/x.wav\ny /far/a b.wav\n") == [
        Entry("x", place("a/x.wav")),
        Entry("y", Path("/far/a b.wav")),
    ]
    Path("lists/segments").write_text("x-1 x 0.5 2\nx-2 x 2 -1\ny-1 y 0 1 1\n")
    assert list(Manifest("lists/wav.scp")) == [
        Entry("x-1", place("a/x.wav"), offset=0.5, duration=1.5),
        Entry("x-2", place("a/x.wav"), offset=2.0),
        Entry("y-1", Path("/far/a b.wav"), duration=1.0, channels=(1,)),
    ]


def test_cuts_of_lhotse():
    both = cut("y", "/far/y.wav", 1.5, 2, channel=[1, 0], type="MultiCut")
    assert listed("cuts.jsonl", lines(cut("x", "a/x.wav", 0, 10), both)) == [
        Entry("x", place("a/x.wav"), duration=10.0, channels=(0,)),
        Entry("y", Path("/far/y.wav"), offset=1.5, duration=2.0, channels=(1, 0)),
    ]


def test_sources_by_name_and_by_file():
    named = {"speech": "s.wav", "noise": "n.wav"}
    table = "audio_filepath,estimates.speech,estimates.noise,references.speech,references.noise\n"
    expected = Entry(
        "m",
        place("m.wav"),
        {"speech": place("s.wav"), "noise": place("n.wav")},
        {"speech": place("r/s.wav"), "noise": place("r/n.wav")},
    )
    row = {"audio_filepath": "m.wav", "estimates": named, "references": ["r/s.wav", "r/n.wav"]}
    assert listed("m.csv", table + "m.wav,s.wav,n.wav,r/s.wav,r/n.wav\n") == [expected]
    assert listed("m.jsonl", lines(row)) == [expected]
    (found,) = listed("m.jsonl", lines(row | {"estimates": ["s.wav", "n.wav"]}))
    assert list(found.estimates) == list(found.references) == ["s", "n"]
    assert not found.alone and two()[0].alone


def test_names_follow_from_files():
    rows = [
        {"audio_filepath": "a/x.wav"},
        {"audio_filepath": "a/x.wav", "offset": 3.25, "duration": 1},
        {"magnitudes": "v.npz", "duration": 3},
        {"id": 7, "audio_filepath": "a/x.wav"},
    ]
    assert [entry.name for entry in listed("m.jsonl", lines(*rows))] == ["x", "x-3.25", "v", "7"]


GOOD = {"id": "x", "audio_filepath": "x.wav"}


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("m.txt", "", "m.txt is no manifest by its ending"),
        ("m.jsonl", "", "m.jsonl lists nothing"),
        ("m.jsonl", lines(GOOD) + "{\n", "m.jsonl:2: no JSON"),
        ("m.jsonl", "[1]\n", "m.jsonl:1: not an object"),
        ("m.jsonl", "[" * 99999, "m.jsonl:1: no JSON"),
        ("m.jsonl", lines(GOOD, GOOD | {"id": "X"}), "m.jsonl:2: id: 'X' is also that of line 1"),
        ("m.jsonl", lines({"audio_filepaht": "x"}), "did you mean 'audio_filepath'"),
        ("m.jsonl", lines(GOOD | {"audio_filepath": 3}), "m.jsonl:1: audio_filepath: 3 is no path"),
        ("m.jsonl", lines(GOOD | {"offset": -1}), "m.jsonl:1: offset: -1 must be seconds, 0"),
        ("m.jsonl", lines(GOOD | {"duration": 0}), "duration: 0 must be seconds, more than 0"),
        ("m.jsonl", lines(GOOD | {"duration": True}), "duration: True must be seconds"),
        ("m.jsonl", '{"audio_filepath": "x", "offset": NaN}\n', "offset: nan must be seconds"),
        ("m.jsonl", lines(GOOD | {"id": "../x"}), "id: '../x' cannot be the name of files"),
        ("m.jsonl", lines(GOOD | {"id": "/x"}), "id: '/x' cannot be the name of files"),
        ("m.jsonl", lines(GOOD | {"id": "x.json"}), "id: 'x.json' cannot be"),
        ("m.jsonl", lines(GOOD | {"estimates": "a.wav"}), "estimates: 'a.wav' is neither a list"),
        ("m.jsonl", lines(GOOD | {"estimates": ["a/s.wav", "b/s.wav"]}), "called alike"),
        ("m.jsonl", lines(GOOD | {"estimates": {"a/b": "x"}}), "cannot be the name of a source"),
        ("m.jsonl", lines(GOOD | {"references": ["a.wav"]}), "references go with estimates"),
        (
            "m.jsonl",
            lines(GOOD | {"estimates": ["a.wav"], "references": {"b": "b.wav"}}),
            "references: they are of b, and estimates of a",
        ),
        ("m.jsonl", lines(GOOD | {"estimates": ["a"], "magnitudes": "v.npz"}), "estimates go with"),
        ("m.csv", "id,path\nx,x.wav\n", "m.csv:1: the header has no column audio_filepath"),
        ("m.csv", "id,id,audio_filepath\n", "m.csv:1: two columns are called 'id'"),
        ("m.csv", "id,audio_filepath\nx\n", "m.csv:2: 1 fields for 2 columns"),
        ("m.csv", 'id,audio_filepath\nx,"a\n', "m.csv:2: unexpected end of data"),
        (
            "wav.scp",
            "x sox x.mp3 -t wav - |\n",
            "scp:1: x: 'sox x.mp3 -t wav - |' is a command",
        ),
        ("wav.scp", "x raw.ark:17\n", "wav.scp:1: x: 'raw.ark:17' is a command, an archive"),
        ("wav.scp", "x\n", "wav.scp:1: x: ''"),
        ("m.jsonl", lines(cut("x", "x.wav", 0, 1, type="MixedCut")), "save the sound with Lhotse"),
        (
            "m.jsonl",
            lines(cut("x", "x.wav", 0, 1, channel=2)),
            "is a file with channel 2",
        ),
    ],
)
def test_what_is_wrong_is_told_in_a_line(name, text, words):
    with pytest.raises(ValueError) as caught:
        listed(name, text)
    assert words in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("u gone 0 1", "segments:1: expected an utterance, a recording"),
        ("u x 2 1", "segments:1: begin and end 2 1 must be seconds"),
        ("u x nan 1", "begin and end nan 1"),
    ],
)
def test_wrong_segments(line, words):
    Path("lists/segments").write_text(line + "\n")
    with pytest.raises(ValueError, match=words):
        listed("wav.scp", "x x.wav\n")


def test_what_is_no_text_is_told():
    Path("lists/m.csv").write_bytes(b"audio_filepath\n\xff\n")
    Path("lists/m.jsonl.gz").write_bytes(b"no archive")
    with pytest.raises(ValueError, match="not UTF-8"):
        Manifest("lists/m.csv")
    with pytest.raises(ValueError, match="damaged"):
        Manifest("lists/m.jsonl.gz")
    with pytest.raises(FileNotFoundError, match="gone"):
        Manifest("lists/gone.csv")


def test_shards_are_all_entries_once():
    entries = [Entry(str(k)) for k in range(11)]
    shards = [list(shard(iter(entries), (i, 4))) for i in range(1, 5)]
    assert sorted(chain(*shards), key=entries.index) == entries
    assert {len(part) for part in shards} == {2, 3}


def test_entries_are_read_one_by_one():
    # A line that is broken after the manifest was checked is met when its turn comes.
    listed("m.jsonl", NEMO)
    manifest = Manifest("lists/m.jsonl")
    Path("lists/m.jsonl").write_text(NEMO.splitlines()[0] + "\n{\n")
    assert list(islice(manifest, 1)) == two()[:1]
    with pytest.raises(ValueError, match="jsonl:2"):
        list(manifest)


def test_excerpts_and_channels():
    rng = np.random.default_rng(0)
    samples = rng.uniform(-0.5, 0.5, (8000, 2)).astype(np.float32)
    soundfile.write("x.wav", samples, 8000, subtype="FLOAT")
    part = Entry("x", Path("x.wav"), offset=0.25, duration=0.5, channels=(1,)).read()
    assert np.array_equal(part.samples, samples[2000:6000, 1:].T)
    # A duration that was rounded up ends with the file.
    assert Entry("x", Path("x.wav"), offset=0.75, duration=0.251).read().samples.shape == (2, 2000)
    with pytest.raises(ValueError, match=r"x\.wav lasts 1 seconds, and offset=1 is behind"):
        Entry("x", Path("x.wav"), offset=1).read()
    with pytest.raises(ValueError, match=r"x\.wav has 2 channel"):
        Entry("x", Path("x.wav"), channels=(2,)).read()
