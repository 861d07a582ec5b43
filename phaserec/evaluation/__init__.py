"""Evaluation: metrics by name, scores of arrays and of files, their summary and tables."""

from phaserec.evaluation.matching import Item, Matches, match
from phaserec.evaluation.metrics import (
    METRICS,
    Metric,
    Settings,
    Undefined,
    joint_metric,
    metric,
    resolve,
)
from phaserec.evaluation.scoring import Row, best_permutation, by_source, score, score_files
from phaserec.evaluation.summary import Statistic, summary
from phaserec.evaluation.tables import to_csv, to_json, to_text

__all__ = [
    "METRICS",
    "Item",
    "Matches",
    "Metric",
    "Row",
    "Settings",
    "Statistic",
    "Undefined",
    "best_permutation",
    "by_source",
    "joint_metric",
    "match",
    "metric",
    "resolve",
    "score",
    "score_files",
    "summary",
    "to_csv",
    "to_json",
    "to_text",
]
