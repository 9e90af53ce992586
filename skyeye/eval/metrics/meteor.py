"""METEOR from the statistics of each caption, as the program of Denkowski and Lavie returns them.

The program (``meteor-1.5.jar``, the one in pycocoevalcap, English, task "rank") scores a corpus by adding up what it
counted in each segment and putting the sums into one formula. That formula stands here too, so that METEOR of any
weighing of the captions can be had without asking the program again; what it says itself about the whole is compared.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from pycocoevalcap.meteor.meteor import Meteor

from skyeye.eval.metrics.base import Statistic, ratio

#: Parameters of METEOR 1.5 for English: weights of exact, stem, synonym and paraphrase matches, and of content words.
ALPHA, BETA, GAMMA, DELTA = 0.85, 0.2, 0.6, 0.75
STAGES = np.array([1.0, 0.6, 0.8, 0.6])
_CHUNKS = 20  # column of the number of chunks


def meteor(program: Meteor, truth: Mapping[int, list[str]], given: Mapping[int, list[str]]) -> Statistic:
    """METEOR in percent of tokenised captions; ``truth`` and ``given`` as pycocoevalcap takes them.

    Raises:
        OSError, ValueError: the program died, or what it says is no number or not that of the formula.
    """
    lines = [program._stat(given[i][0], truth[i]) for i in truth]
    program.meteor_p.stdin.write(f"EVAL ||| {' ||| '.join(lines)}\n".encode())
    program.meteor_p.stdin.flush()
    said = [float(program.meteor_p.stdout.readline()) for _ in range(len(lines) + 1)]  # each caption, then the corpus
    rows = np.array([[float(number) for number in line.split()] for line in lines])
    statistic = Statistic(_without_whole_chunks(rows), meteor_value)
    ours = math.nan if statistic.score is None else statistic.score / 100
    if not abs(ours - said[-1]) < 1e-9:
        raise ValueError(f"it says {said[-1]}, the formula for its own statistics {ours}")
    return statistic


def meteor_value(sums: np.ndarray) -> np.ndarray:
    """Percent from 23 sums: words and function words of both sides, matches by stage, chunks, matched words."""
    words, function_words = sums[..., 0:2], sums[..., 2:4]
    stages = sums[..., 4:20].reshape(*sums.shape[:-1], 4, 2, 2)  # stage, content or function words, test or reference
    matches = np.einsum("s,...sct,c->...t", STAGES, stages, [DELTA, 1 - DELTA])
    precision_recall = ratio(matches, DELTA * (words - function_words) + (1 - DELTA) * function_words)
    precision, recall = precision_recall[..., 0], precision_recall[..., 1]
    f_mean = ratio(precision * recall, (1 - ALPHA) * recall + ALPHA * precision)
    penalty = GAMMA * ratio(2 * sums[..., _CHUNKS], sums[..., 21] + sums[..., 22]) ** BETA
    return 100 * np.maximum(np.nan_to_num(f_mean * (1 - penalty)), 0)  # the program, too, makes 0 of 0 / 0


def _without_whole_chunks(rows: np.ndarray) -> np.ndarray:
    """The program does not count the one chunk of a caption that is equal to its reference, word by word."""
    stages = rows[:, 4:20].reshape(len(rows), 4, 2, 2)
    whole = (stages.sum(axis=(1, 2)) == rows[:, 0:2]).all(axis=1) & (rows[:, _CHUNKS] == 1)
    rows = rows.copy()
    rows[whole, _CHUNKS] = 0
    return rows
