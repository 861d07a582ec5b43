"""Names are names, inputs are never outputs, and what is no ordinary file is not replaced."""

import os
import stat
import threading
from pathlib import Path

import pytest

from phaserec._files import check_apart, check_name, distinct, write_files


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "...", "../x", "/tmp/x", "a/b", "a\\b", "x\0y", "tab\t", ".hidden"],
)
def test_names_that_lead_elsewhere_are_refused(name):
    with pytest.raises(ValueError, match=r"here: .* cannot be the name of a source"):
        check_name(name, "here")


@pytest.mark.parametrize("name", ["speech", "s 1", "Stimme-ä", "v1.2", "a'b"])
def test_names_stay(name):
    assert check_name(name, "here") == name


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["a", "b"], ["a", "b"]),
        (["v", "v", "v-2"], ["v-1", "v-5", "v-2"]),
        (["v", "V"], ["v-1", "V-2"]),
        (["v-1", "v", "v"], ["v-1", "v-2", "v-3"]),
    ],
)
def test_names_are_made_different(names, expected):
    assert distinct(names) == expected
    assert len({name.casefold() for name in distinct(names)}) == len(names)


def test_inputs_are_never_outputs(tmp_path):
    (tmp_path / "a.wav").touch()
    os.symlink(tmp_path / "a.wav", tmp_path / "link.wav")
    for output in ("a.wav", "link.wav"):
        with pytest.raises(ValueError, match=r"is one of the input files"):
            check_apart([tmp_path / output], ["-", tmp_path / "a.wav"])
    os.link(tmp_path / "a.wav", tmp_path / "hard.wav")
    with pytest.raises(ValueError, match=r"is one of the input files"):
        check_apart([tmp_path / "hard.wav"], [tmp_path / "a.wav"])
    check_apart([tmp_path / "b.wav"], ["-", tmp_path / "a.wav"])


def test_outputs_differ_from_one_another(tmp_path):
    for names in (["t", "t"], ["t", "x/../t"]):
        with pytest.raises(ValueError, match="t is named for two outputs"):
            check_apart([tmp_path / name for name in names], [])
    check_apart([Path(os.devnull), Path(os.devnull)], [os.devnull])


def test_folders_are_made_and_go_when_nothing_is_written(tmp_path):
    def contents():
        yield b"one"
        raise OSError(28, "No space left on device")

    (tmp_path / "old").mkdir()
    paths = [tmp_path / "old/new/deep/a", tmp_path / "other/b"]
    with pytest.raises(OSError, match="No space left"):
        write_files(paths, contents())
    assert [path.name for path in tmp_path.rglob("*")] == ["old"]
    write_files(paths, [b"one", b"two"])
    assert [path.read_bytes() for path in paths] == [b"one", b"two"]


def test_links_stay_and_their_files_are_written(tmp_path):
    (tmp_path / "real").write_bytes(b"old")
    os.symlink(tmp_path / "real", tmp_path / "link")
    write_files([tmp_path / "link"], [b"new"])
    assert (tmp_path / "link").is_symlink() and (tmp_path / "real").read_bytes() == b"new"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_pipes_are_written_to_and_not_replaced(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    heard = []
    reader = threading.Thread(target=lambda: heard.append(pipe.read_bytes()))
    reader.start()
    write_files([tmp_path / "file", pipe], [b"one", b"two"])
    reader.join(10)
    assert heard == [b"two"] and (tmp_path / "file").read_bytes() == b"one"
    assert stat.S_ISFIFO(pipe.stat().st_mode)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_a_pipe_whose_reader_goes_is_an_error(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: os.close(os.open(pipe, os.O_RDONLY)))
    reader.start()
    with pytest.raises(OSError, match="pipe: who read it has gone"):
        write_files([pipe], [bytes(1 << 20)])
    reader.join(10)


def test_a_folder_among_the_targets_stops_all(tmp_path):
    (tmp_path / "b").mkdir()
    with pytest.raises(IsADirectoryError, match="b is a folder"):
        write_files([tmp_path / "a", tmp_path / "b"], [b"one", b"two"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b"]
