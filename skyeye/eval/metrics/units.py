"""The scores of a metric on each unit of a test set, beside the whole."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np

from skyeye.data.record import Record
from skyeye.eval.metrics.base import Metric, Scores, Statistic
from skyeye.eval.results import Answer


def by_unit(metric: Metric, main: str, unit: Callable[[Record], str] = lambda record: record.source) -> Metric:
    """A metric that also gives ``main`` for each unit (``accuracy/ERA``), and ``mean_over_units``, which weighs every
    unit alike. Each unit is scored by itself: the CIDEr of one weighs words by the images of that unit alone."""

    def scored(records: Sequence[Record], answers: Sequence[Answer]) -> Scores:
        whole = metric(records, answers)
        members: dict[str, list[int]] = defaultdict(list)
        for number, record in enumerate(records):
            members[unit(record) or "(none)"].append(number)
        parts: dict[str, Statistic] = {}
        for name, numbers in sorted(members.items()):
            own = metric([records[n] for n in numbers], [answers[n] for n in numbers]).statistics.get(main)
            if own is not None:
                parts[name] = _spread(own, numbers, len(records))
        plain = {name: part for name, part in whole.statistics.items() if not name.startswith(f"{main}/")}
        whole.statistics = {
            **plain,
            "mean_over_units": _mean(list(parts.values()), len(records)),
            **{f"{main}/{name}": part for name, part in parts.items()},
        }
        whole.counts |= {name: len(numbers) for name, numbers in sorted(members.items())}
        return whole

    return scored


def _spread(statistic: Statistic, numbers: Sequence[int], items: int) -> Statistic:
    """A statistic of some items as one of all, to which the others add nothing."""
    rows = np.zeros((items, statistic.rows.shape[1]))
    rows[list(numbers)] = statistic.rows
    return Statistic(rows, statistic.value)


def _mean(parts: Sequence[Statistic], items: int) -> Statistic:
    """The plain mean of statistics, without those of which nothing is measured."""
    rows = np.concatenate([part.rows for part in parts], axis=1) if parts else np.zeros((items, 0))
    ends = np.cumsum([part.rows.shape[1] for part in parts])

    def value(sums: np.ndarray) -> np.ndarray:
        pieces = np.split(sums, ends[:-1], axis=-1) if parts else []
        values = np.array([part.value(piece) for part, piece in zip(parts, pieces, strict=True)])
        measured = ~np.isnan(values)
        total = np.where(measured, values, 0.0).sum(axis=0)
        return np.where(measured.any(axis=0), total / np.maximum(measured.sum(axis=0), 1), np.nan)

    return Statistic(rows, value)
