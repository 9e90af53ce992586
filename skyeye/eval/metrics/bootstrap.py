"""How far a score would move with other images: bootstrap intervals, and tests of two systems on the same questions.

Images are drawn, not questions: the hundred questions about one image stand or fall together. Drawing images with
replacement is the same as giving each a whole weight, and a score is a formula over sums (:class:`Statistic`), so that
a thousand draws are one product of matrices.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array
from scipy.stats import binomtest

from skyeye.errors import SkyEyeError
from skyeye.eval.metrics.base import Scores, Statistic

#: Of an interval where nothing else is asked for.
LEVEL, RESAMPLES = 0.95, 1000
#: Numbers (weights of images) that are held at once.
_AT_ONCE = 4_000_000


@dataclass(frozen=True)
class Difference:
    """Two scores on the same items, None where one has none. ``low`` and ``high`` are those of ``difference`` = b - a;
    ``p`` is two-sided."""

    a: float | None
    b: float | None
    difference: float | None
    low: float | None
    high: float | None
    p: float | None


@dataclass(frozen=True)
class McNemar:
    """How many items only one of two systems has right, and how likely so uneven a split is by chance (two-sided)."""

    only_a: int
    only_b: int
    p: float


def intervals(
    scores: Scores,
    clusters: Sequence[Hashable],
    resamples: int = RESAMPLES,
    seed: int = 0,
    level: float = LEVEL,
) -> dict[str, tuple[float, float] | None]:
    """Percentile bootstrap intervals of all metrics.

    Args:
        clusters: for each item what is drawn anew, its image(s); items of the same cluster stay together.
        resamples: how often the clusters are drawn, as many as there are, with replacement.
        seed: of the draws.
        level: share of the draws between the two ends.

    Returns:
        metric -> (low, high); None where the score is None, or rests on fewer than two clusters. Draws in which a
        metric measures nothing (none of the few images of its type was drawn) do not count for it.

    Raises:
        SkyEyeError: not one cluster for each item.
    """
    drawn = _Drawn([scores], clusters, resamples, seed)
    ends = [50 * (1 - level), 50 * (1 + level)]
    result: dict[str, tuple[float, float] | None] = {}
    for name, statistic in scores.statistics.items():
        values = None if statistic.score is None else drawn.values(statistic)
        if values is None:
            result[name] = None
        else:
            low, high = np.nanpercentile(values, ends)
            result[name] = float(low), float(high)
    return result


def paired(
    a: Scores,
    b: Scores,
    clusters: Sequence[Hashable],
    resamples: int = RESAMPLES,
    seed: int = 0,
    level: float = LEVEL,
) -> dict[str, Difference]:
    """Differences b - a of the metrics that both have, with the same draws of the clusters for both.

    ``p`` is the paired bootstrap test: twice the share of draws on the far side of 0 (draws without a difference are on
    both sides), each draw and the data themselves counted once: 2 (1 + min(n(d <= 0), n(d >= 0))) / (1 + draws), at
    most 1. It cannot fall below 2 / (1 + resamples). Interval and ``p`` are None where :func:`intervals` gives None.

    Raises:
        SkyEyeError: the two do not have the same number of items, or there is not one cluster for each.
    """
    drawn = _Drawn([a, b], clusters, resamples, seed)
    ends = [50 * (1 - level), 50 * (1 + level)]
    result = {}
    for name in a.statistics.keys() & b.statistics.keys():
        one, other = a.statistics[name], b.statistics[name]
        if one.score is None or other.score is None:
            continue
        values_a, values_b = drawn.values(one), drawn.values(other)
        difference = other.score - one.score
        low = high = p = None
        if values_a is not None and values_b is not None:
            draws = np.round(values_b - values_a, 9)  # a difference in the last digit of a sum is none
            draws = draws[~np.isnan(draws)]
            low, high = (float(end) for end in np.percentile(draws, ends))
            p = min(1.0, 2 * (1 + min((draws <= 0).sum(), (draws >= 0).sum())) / (1 + len(draws)))
        result[name] = Difference(one.score, other.score, difference, low, high, p)
    return {name: result[name] for name in a.statistics if name in result}


def mcnemar(a: Sequence[bool | None], b: Sequence[bool | None]) -> McNemar | None:
    """Exact test of McNemar on right and wrong answers; None where nothing is right or wrong.

    It takes the questions for independent: where many are asked of one image, :func:`paired` is the one to read.

    Raises:
        SkyEyeError: the two do not have the same number of items.
    """
    _same_length(len(a), len(b))
    pairs = [(x, y) for x, y in zip(a, b, strict=True) if x is not None and y is not None]
    if not pairs:
        return None
    only_a, only_b = sum(x and not y for x, y in pairs), sum(y and not x for x, y in pairs)
    unequal = only_a + only_b
    return McNemar(only_a, only_b, float(binomtest(only_a, unequal).pvalue) if unequal else 1.0)


class _Drawn:
    """Sums of the rows of all statistics in each draw; the same draws for all of them."""

    def __init__(self, scores: Sequence[Scores], clusters: Sequence[Hashable], resamples: int, seed: int):
        codes = {cluster: code for code, cluster in enumerate(dict.fromkeys(clusters))}
        owner = np.array([codes[cluster] for cluster in clusters], int)
        self._columns: dict[int, slice] = {}  # by the identity of rows, which BLEU-1..4 share
        blocks: list[np.ndarray] = []
        width = 0
        for statistic in (statistic for each in scores for statistic in each.statistics.values()):
            rows = statistic.rows
            _same_length(len(rows), len(clusters))
            if id(rows) not in self._columns:
                blocks += [np.bincount(owner, column, len(codes)) for column in rows.T]
                self._columns[id(rows)] = slice(width, width + rows.shape[1])
                width += rows.shape[1]
        # (width, clusters); sparse, because an image adds to its own class only
        self._clusters = csr_array(np.array(blocks).reshape(width, len(codes)))
        drawn = [(self._clusters @ weights.T).T for weights in _weights(len(codes), resamples, seed)]
        self._sums = np.concatenate([np.zeros((0, width)), *drawn])

    def values(self, statistic: Statistic) -> np.ndarray | None:
        """The statistic of each draw; None where fewer than two clusters have something to it."""
        columns = self._columns[id(statistic.rows)]
        if len(np.unique(self._clusters[columns].nonzero()[1])) < 2:
            return None
        return statistic.value(self._sums[:, columns])


def _weights(clusters: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """How often each cluster is drawn, (some draws, clusters) at a time."""
    generator = np.random.default_rng(seed)
    step = max(1, _AT_ONCE // max(1, clusters))
    for start in range(0, resamples if clusters else 0, step):
        draws = min(step, resamples - start)
        chosen = generator.integers(clusters, size=(draws, clusters)) + clusters * np.arange(draws)[:, None]
        yield np.bincount(chosen.ravel(), minlength=draws * clusters).reshape(draws, clusters).astype(float)


def _same_length(items: int, others: int) -> None:
    if items != others:
        raise SkyEyeError(
            f"{items} items cannot be paired with {others}",
            remedy="two results can be compared only on the same questions",
        )
