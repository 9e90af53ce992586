"""Two questions beside every score: does the model look at the image, and does it follow the words?

*Shuffled images*: every question is asked about a wrong picture. The images are permuted among the questions so that
none keeps its own; a record of several frames keeps its frames together. What a model still scores it owes to words and
habit.

*Shuffled phrases* are for tasks whose words choose one of several objects: inside a scene the words are permuted among
the objects, the truth stays. A model that points at any object scores the same; one that follows the words drops.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace

from skyeye.data.record import Record
from skyeye.eval.question import with_turn


def derangement(n: int, rng: random.Random) -> list[int]:
    """A random permutation of ``range(n)``, n >= 2, without fixed point: a single cycle (Sattolo's shuffle)."""
    if n < 2:
        raise ValueError(f"{n} things cannot be permuted so that none keeps its place")
    order = list(range(n))
    for i in range(n - 1, 0, -1):
        j = rng.randrange(i)
        order[i], order[j] = order[j], order[i]
    return order


def shuffle_images(records: Sequence[Record], seed: int | str) -> list[Record] | None:
    """The records with the images permuted among distinct images; None when all show the same image(s)."""
    distinct = list(dict.fromkeys(record.images for record in records))
    if len(distinct) < 2:
        return None
    # "blind" and "deaf" are the old names of the controls; published numbers rest on these permutations
    order = derangement(len(distinct), random.Random(f"blind {seed}"))
    other = {images: distinct[order[i]] for i, images in enumerate(distinct)}
    return [replace(record, images=other[record.images]) for record in records]


def shuffle_phrases(
    records: Sequence[Record], chosen: Callable[[Record], Hashable], seed: int | str
) -> tuple[list[int], list[Record]]:
    """Permute the words among the objects of each scene.

    Args:
        records: the questions.
        chosen: what the words of a record choose (object id, box, phrase); equal values are one object.
        seed: of the permutation.
    Returns:
        (indices of the records that could be permuted, those records with the words of another object of their scene).
        Scenes with a single object are skipped. Where the objects have unequally many expressions, an object's k-th
        question gets the k-th expression, counted round, of the object it is paired with.
    """
    scenes: dict[Hashable, dict[Hashable, list[int]]] = defaultdict(lambda: defaultdict(list))
    for index, record in enumerate(records):
        scenes[record.images][chosen(record)].append(index)
    rng = random.Random(f"deaf {seed}")  # an old name: see shuffle_images
    changed: dict[int, Record] = {}
    for objects in scenes.values():
        if len(objects) < 2:
            continue
        members = list(objects.values())
        for mine, partner in zip(members, derangement(len(members), rng), strict=True):
            theirs = members[partner]
            for k, index in enumerate(mine):
                other, own = records[theirs[k % len(theirs)]].turns[0], records[index].turns[0]
                changed[index] = with_turn(records[index], own.asked(other.question, other.question_mentions))
    indices = sorted(changed)
    return indices, [changed[index] for index in indices]
