"""Functions over items in processes: order, failures, crashes."""

import math
import operator
import os
from functools import partial

import pytest

from phaserec.corpus.workers import Failed, run_ordered


@pytest.mark.parametrize("jobs", [1, 2])
def test_results_come_in_order(jobs):
    assert list(run_ordered(abs, [-3, 2, -1, 0, -7], jobs=jobs)) == [3, 2, 1, 0, 7]


def test_nothing_to_do():
    assert list(run_ordered(abs, [])) == []


def test_an_item_that_raises_or_crashes_fails_alone():
    calls = [
        partial(math.sqrt, 4),
        partial(math.sqrt, -1),
        partial(os._exit, 3),
        partial(operator.getitem, [], 0),
        partial(os.kill, 0, "no number"),
        partial(math.sqrt, 9),
    ]
    two, domain, crash, index, kind, three = run_ordered(operator.call, calls, jobs=2)
    assert (two, three) == (2, 3)
    assert "domain" in domain.reason or "nonnegative" in domain.reason
    assert crash == Failed("its process ended with exit code 3")
    assert index.reason.startswith("IndexError: ") and kind.reason.startswith("TypeError: ")


def test_processes_have_one_thread_for_linear_algebra_and_the_parent_keeps_its_own(monkeypatch):
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    names = ["OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"]
    assert list(run_ordered(os.getenv, names, jobs=1)) == ["1", "1"]
    assert os.environ["OPENBLAS_NUM_THREADS"] == "7" and "MKL_NUM_THREADS" not in os.environ


def test_no_process_is_left_when_the_caller_stops():
    results = run_ordered(operator.call, [os.getpid] * 4, jobs=2)
    pid = next(results)
    results.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_jobs_must_be_positive():
    with pytest.raises(ValueError, match="jobs=0"):
        next(run_ordered(abs, [1], jobs=0))
