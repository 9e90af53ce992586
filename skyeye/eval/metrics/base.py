"""What every metric is made of: rows of numbers for each item, and a formula over their sums.

A score is ``value(rows.sum(0))``. Because nothing but sums enters the formula, the same definition gives the score of
any weighing of the items: :mod:`skyeye.eval.metrics.bootstrap` draws images anew by weighing the rows, without scoring
again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from skyeye.data.record import Record
from skyeye.eval.results import Answer

#: Metrics of which less is better; they are no percentages (objects miscounted, on average).
LOWER_IS_BETTER = frozenset({"count_error", "mae", "rmse", "mape"})


@dataclass(frozen=True, eq=False)
class Statistic:
    """A number about a test set.

    Attributes:
        rows: (items, k) float64; what each item adds to the k sums. An item that a metric does not look at is all 0.
        value: sums (..., k) -> numbers (...); nan where nothing can be measured.
    """

    rows: np.ndarray
    value: Callable[[np.ndarray], np.ndarray]

    @cached_property
    def score(self) -> float | None:
        """The number for the items as they are; None where nothing can be measured."""
        number = float(self.value(self.rows.sum(axis=0)))
        return None if np.isnan(number) else number


@dataclass
class Scores:
    """What a metric makes of the answers.

    Attributes:
        statistics: by the name of the metric. A name with a ``/`` is a part of the metric before the stroke.
        items: for each record ``truth`` (as text or list), ``correct`` (None where there is no right or wrong), and
            what the family adds (``iou``, ``cider``, ...).
        counts: how many items a value rests on, and how many answers could not be read.
        notes: what a reader of the numbers has to know.
    """

    statistics: dict[str, Statistic]
    items: list[dict[str, Any]]
    counts: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def metrics(self) -> dict[str, float | None]:
        """Name -> score; None where nothing could be measured."""
        return {name: statistic.score for name, statistic in self.statistics.items()}


Metric = Callable[[Sequence[Record], Sequence[Answer]], Scores]


def ratio(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """``top / bottom``; nan where ``bottom`` is 0."""
    top, bottom = np.broadcast_arrays(np.asarray(top, float), np.asarray(bottom, float))
    return np.divide(top, bottom, out=np.full(top.shape, np.nan), where=bottom != 0)


def mean(values: Sequence[float], counted: Sequence[bool] | None = None, scale: float = 1) -> Statistic:
    """The mean of ``values`` x ``scale`` over the items that are ``counted`` (all of them by default)."""
    looked_at = np.ones(len(values)) if counted is None else np.asarray(counted, float)
    rows = np.column_stack([np.where(looked_at > 0, np.asarray(values, float), 0.0), looked_at])
    return Statistic(rows, lambda sums: scale * ratio(sums[..., 0], sums[..., 1]))


def percent(values: Sequence[float], counted: Sequence[bool] | None = None) -> Statistic:
    """100 x the mean of hits (0 or 1) or of fractions."""
    return mean(values, counted, 100)


def by_label(
    name: str, labels: Sequence[str | None], hits: Sequence[float]
) -> tuple[dict[str, Statistic], dict[str, int]]:
    """``name/label`` -> percent of hits, and ``label`` -> number of items, for the labels that occur."""
    members = {x: [label == x for label in labels] for x in sorted({x for x in labels if x is not None})}
    parts = {f"{name}/{x}": percent(hits, inside) for x, inside in members.items()}
    return parts, {x: sum(inside) for x, inside in members.items()}


def mean_of(parts: Sequence[Statistic], items: int) -> Statistic:
    """The plain mean of percentages, each of the same weight, leaving out those of which nothing occurs."""
    rows = np.concatenate([part.rows for part in parts], axis=1) if parts else np.zeros((items, 0))

    def value(sums: np.ndarray) -> np.ndarray:
        hits, totals = sums[..., 0::2], sums[..., 1::2]
        shares = np.nan_to_num(ratio(hits, totals))
        return 100 * ratio(shares.sum(axis=-1), (totals > 0).sum(axis=-1))

    return Statistic(rows, value)
