"""What nearness chooses: captions of a picture, pictures of a caption, the class whose texts are nearest to a picture.

Pictures are scored, one row each; texts are records without images behind them. All vectors have length 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from skyeye.data.record import Record
from skyeye.errors import SkyEyeError
from skyeye.eval.metrics.base import Scores, Statistic, by_label, mean_of, percent, ratio
from skyeye.eval.results import Answer

#: Places of the recalls.
PLACES = (1, 5, 10)


def retrieval(records: Sequence[Record], answers: Sequence[Answer]) -> Scores:
    """R@1, 5, 10 both ways, and their mean.

    ``image_to_text R@k``: of a picture, one of its captions is among the k nearest of all captions.
    ``text_to_image R@k``: of a caption, its picture is among the k nearest of all pictures. Captions are the records
    without images; ``references['of']`` names the id of the record of their picture. Captions of other pictures that
    are as near (the same words, often) count half: in published protocols the order of a sort decides.
    """
    pictures, texts, images, captions = _sides(records, answers)
    places = {record.id: place for place, record in enumerate(pictures)}
    owner = np.array([places[record.references["of"]] for record in texts], int)
    nearness = np.round(images @ captions.T, 6)  # the same words are equally near, whatever batch they were in
    own = owner[None, :] == np.arange(len(pictures))[:, None]
    best = np.where(own, nearness, -np.inf).max(axis=1)
    of_image = _rank(np.where(own, -np.inf, nearness), best[:, None], axis=1)
    truth = nearness[owner, np.arange(len(texts))]
    of_text = _rank(nearness, truth[None, :], axis=0) - 0.5  # without its own picture
    statistics = {}
    for k in PLACES:
        statistics[f"image_to_text R@{k}"] = percent((of_image < k).tolist())
    for k in PLACES:
        hits = np.bincount(owner, of_text < k, len(pictures))
        statistics[f"text_to_image R@{k}"] = _share(hits, np.bincount(owner, minlength=len(pictures)))
    parts = list(statistics.values())
    nearest = [texts[place].turns[0].question for place in nearness.argmax(axis=1)]
    items = [
        {
            "truth": list(record.references["captions"]),
            "correct": bool(rank < 1),
            "rank": float(rank),
            "answer": caption,
        }
        for record, rank, caption in zip(pictures, of_image, nearest, strict=True)
    ]
    counts = {"captions": len(texts)}
    return Scores({"mean_recall": mean_of(parts, len(pictures)), **statistics}, items, counts)


def zero_shot(records: Sequence[Record], answers: Sequence[Answer]) -> Scores:
    """The class whose texts a picture is nearest to, against ``references['answer']``.

    A class is the mean of its texts (:func:`class_vectors`). ``accuracy (first template)`` asks with one text of each.
    ``top-5 accuracy`` where there are more than five classes; ``balanced_accuracy`` is the mean over the classes that
    occur.
    """
    pictures, texts, images, _ = _sides(records, answers)
    names, vectors, first = class_vectors(texts, answers[len(pictures) :])
    truths = [record.references["answer"] for record in pictures]
    truth = np.array([names.index(name) for name in truths], int)
    order = np.argsort(-(images @ vectors.T), axis=1, kind="stable")
    hits = order[:, 0] == truth
    by_class, counts = by_label("accuracy", truths, hits.tolist())
    statistics = {
        "accuracy": percent(hits.tolist()),
        "balanced_accuracy": mean_of(list(by_class.values()), len(pictures)),
    }
    statistics["accuracy (first template)"] = percent(((images @ first.T).argmax(axis=1) == truth).tolist())
    if len(names) > 5:
        statistics["top-5 accuracy"] = percent((order[:, :5] == truth[:, None]).any(axis=1).tolist())
    items = [
        {"truth": name, "answer": names[place], "correct": bool(hit)}
        for name, hit, place in zip(truths, hits, order[:, 0], strict=True)
    ]
    return Scores(statistics | by_class, items, counts)


def class_vectors(texts: Sequence[Record], answers: Sequence[Answer]) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Names of classes, and for each a vector (classes, D) of length 1: the mean of its texts' vectors; and the vector
    of its first text alone.

    Args:
        texts: with ``references['class']``.
    """
    names = list(dict.fromkeys(record.references["class"] for record in texts))
    vectors = _vectors(texts, answers)
    own = [vectors[[record.references["class"] == name for record in texts]] for name in names]
    means = np.stack([rows.mean(axis=0) for rows in own])
    return names, _of_length_1(means), np.stack([rows[0] for rows in own])


def _sides(
    records: Sequence[Record], answers: Sequence[Answer]
) -> tuple[list[Record], list[Record], np.ndarray, np.ndarray]:
    """Pictures and texts, and the vectors of both; pictures stand first."""
    pictures = [record for record in records if record.images]
    texts = list(records[len(pictures) :])
    vectors = _vectors(records, answers)
    return pictures, texts, vectors[: len(pictures)], vectors[len(pictures) :]


def _vectors(records: Sequence[Record], answers: Sequence[Answer]) -> np.ndarray:
    """(N, D) of length 1.

    Raises:
        SkyEyeError: an answer is none.
    """
    missing = next((r for r, answer in zip(records, answers, strict=True) if answer.embedding is None), None)
    if missing is not None:
        remedy = "this benchmark compares vectors; score it with skyeye eval CHECKPOINT"
        raise SkyEyeError("has no embedding", where=missing.id, remedy=remedy)
    return _of_length_1(np.array([answer.embedding for answer in answers], float))


def _of_length_1(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _rank(nearness: np.ndarray, own: np.ndarray, axis: int) -> np.ndarray:
    """How many are nearer than ``own`` along an axis, and half of those that are as near."""
    return (nearness > own).sum(axis=axis) + 0.5 * (nearness == own).sum(axis=axis)


def _share(hits: np.ndarray, of: np.ndarray) -> Statistic:
    """100 x hits / of, of pictures with several captions each."""
    return Statistic(np.column_stack([hits, of]).astype(float), lambda s: 100 * ratio(s[..., 0], s[..., 1]))
