"""What does not fit into memory is refused before it is allocated."""

import math
import os

import pytest

from phaserec import _memory
from phaserec._memory import TooLarge, check_memory, total_memory


@pytest.fixture(autouse=True)
def _forget():
    total_memory.cache_clear()
    yield
    total_memory.cache_clear()


def test_the_message_tells_how_much_and_what_to_do(monkeypatch):
    monkeypatch.setattr(_memory, "total_memory", lambda: 4 << 30)
    check_memory("it", 4 << 30, "do less")
    with pytest.raises(TooLarge, match=r"^it would take 6\.0 GiB of memory, but there are 4\.0"):
        check_memory("it", 6 << 30, "do less")
    with pytest.raises(ValueError, match=r"more than 2⁶⁰ bytes .*; do less$"):
        check_memory("it", 10**400, "do less")


def test_the_limit_of_a_container_counts(monkeypatch, tmp_path):
    whole = total_memory()
    assert whole > 0
    names = [tmp_path / "new", tmp_path / "old"]
    monkeypatch.setattr(_memory, "_LIMITS", tuple(map(str, names)))
    total_memory.cache_clear()
    assert total_memory() >= whole
    names[0].write_text("max\n")
    names[1].write_text("123456\n")
    total_memory.cache_clear()
    assert total_memory() == 123456


def test_where_nothing_is_told_all_is_allowed(monkeypatch):
    monkeypatch.setattr(_memory, "_LIMITS", ())
    monkeypatch.delattr(os, "sysconf", raising=False)
    assert total_memory() == math.inf
    check_memory("it", 1e300, "do less")


@pytest.mark.parametrize(
    ("typed", "size"),
    [
        (5, 5),
        ("2GB", 2 * 10**9),
        ("1.5 MiB", 3 << 19),
        ("300k", 300_000),
        ("7", 7),
        ("1tb", 10**12),
    ],
)
def test_sizes_as_they_are_typed(typed, size):
    assert _memory.as_bytes("memory", typed) == size


@pytest.mark.parametrize("typed", ["", "GB", "2XB", "-1GB", "2iB", 0, -1, 2.5, True, None])
def test_no_sizes(typed):
    with pytest.raises(ValueError, match=r"memory=.* must be"):
        _memory.as_bytes("memory", typed)


def test_what_is_free(monkeypatch, tmp_path):
    assert 0 < _memory.free_memory() <= total_memory()
    names = [tmp_path / name for name in ("meminfo", "max", "current")]
    names[0].write_text("MemTotal: 9 kB\nMemAvailable:    500 kB\n")
    names[1].write_text("max")
    names[2].write_text("100000")
    monkeypatch.setattr(_memory, "_LEFT", names[0])
    monkeypatch.setattr(_memory, "_LIMITS", (names[1],))
    monkeypatch.setattr(_memory, "_USED", (names[2],))
    assert _memory.free_memory() == 500 << 10
    names[1].write_text("300000")
    total_memory.cache_clear()
    assert _memory.free_memory() == 200_000
