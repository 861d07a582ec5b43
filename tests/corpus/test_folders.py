"""The reader of folders: which files are recordings, and how often."""

import os
from pathlib import Path

import pytest

from phaserec.corpus.folders import audio_files


@pytest.fixture
def folder(tmp_path):
    for name in ("a/x.wav", "a/b/y.flac", "c/z.WAV", "notes.txt", ".hidden/h.wav", "a/.h.wav"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def names(*args, **kwargs):
    return [str(path) for path in audio_files(*args, **kwargs)]


def test_recordings_of_a_folder_and_the_folders_in_it(folder):
    assert names(folder) == ["a/b/y.flac", "a/x.wav", "c/z.WAV"]
    assert names(folder / "a", deep=False) == ["x.wav"]
    assert names(folder, without=folder / "c" / ".." / "a") == ["c/z.WAV"]


@pytest.mark.parametrize(("target", "outside"), [(".", []), ("..", ["loop/c/z.WAV"]), ("../a", [])])
def test_a_link_that_loops_adds_no_recording_twice(folder, target, outside):
    os.symlink(target, folder / "a" / "loop")
    # What a link leads to outside the folder is found once.
    assert names(folder / "a") == ["b/y.flac", *outside, "x.wav"]


def test_links_that_lead_to_each_other(folder):
    os.symlink("../c", folder / "a" / "aside")
    os.symlink("../a", folder / "c" / "aside")
    assert names(folder / "a") == ["aside/z.WAV", "b/y.flac", "x.wav"]


def test_a_folder_with_two_names_is_found_by_both(folder):
    os.symlink("a", folder / "again")
    assert names(folder / "again") == names(folder / "a") == ["b/y.flac", "x.wav"]
    assert names(folder) == ["a/b/y.flac", "a/x.wav", "again/b/y.flac", "again/x.wav", "c/z.WAV"]


def test_the_folder_itself_may_be_a_link(folder, monkeypatch):
    os.symlink(folder / "a", folder / "start")
    os.symlink("..", folder / "a" / "b" / "back")
    assert names(folder / "start") == ["b/y.flac", "x.wav"]
    monkeypatch.chdir(folder / "a")
    assert names(".") == names(Path.cwd()) == ["b/y.flac", "x.wav"]
