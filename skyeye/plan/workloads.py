"""How many questions images have and how long they are: made groups of the shapes of real data.

Lengths are in LLaMA-2 tokens, ``</Img>`` to ``[/INST]`` for a question and with ``</s>`` for an answer, counted on real
annotations: RSVQA-LR and -HR (2,500 samples each), RSICD captions (8,400), RSITMD captions, RSVG-HR expressions. The
sources of SkyEye-968k have the sample counts of the paper's table; the images of RSVQA-LR, RSVQA-HR and the caption
sets follow from 100, 95 and 5 samples an image, those of the grounding and conversation sets from the sizes of their
image sets and are rough.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from skyeye.data.record import Record, Turn
from skyeye.data.sequence import IGNORE_INDEX, IMAGE_TOKEN_ID, Branch, GroupSequence

#: Tokens of a prefix besides the image's: ``<s>[INST] <Img>`` in LLaMA-2 tokens.
PREFIX_WORDS = 7


@dataclass(frozen=True)
class WorkloadSource:
    """One kind of data: how many samples it has, of how many images, and the lengths of a sample.

    ``question`` and ``answer`` are the deciles' middle (shortest, usual, longest) of a triangular distribution.
    """

    name: str
    samples: float
    images: float
    question: tuple[int, int, int]
    answer: tuple[int, int, int]


_VQA = ((17, 21, 28), (2, 2, 5))
_CAPTION = ((15, 21, 22), (8, 12, 19))
_GROUNDING = ((26, 31, 42), (16, 16, 17))

DISTRIBUTIONS: dict[str, list[WorkloadSource]] = {
    "rsvqa": [WorkloadSource("RSVQA", 100, 1, *_VQA)],
    "captions": [WorkloadSource("captions", 5, 1, *_CAPTION)],
    "skyeye968k": [  # thousands
        WorkloadSource("captions of RSICD, RSITMD, UCM, Sydney, NWPU, CapERA", 209.5, 41.9, *_CAPTION),
        WorkloadSource("ERA-VQA", 1.5, 1.5, *_VQA),
        WorkloadSource("RSIVQA", 17.7, 4.1, *_VQA),
        WorkloadSource("RSVQA-LR", 57.2, 0.572, *_VQA),
        WorkloadSource("RSVQA-HR", 625.3, 6.56, *_VQA),
        WorkloadSource("RSVG, DIOR-RSVG", 32.5, 16.5, *_GROUNDING),
        WorkloadSource("RSPG", 6.8, 6.8, (20, 24, 30), (20, 40, 90)),
        WorkloadSource("conversations", 18.3, 9.0, (20, 60, 120), (20, 50, 120)),
    ],
}


def made_groups(
    distribution: str,
    count: int,
    *,
    tokens_per_image: int,
    vocabulary: int,
    seed: int = 0,
    questions_per_image: int | None = None,
) -> list[GroupSequence]:
    """Groups of random token ids with the shapes of a distribution.

    Sources come in the proportion of their images, by largest remainders, so that a few dozen groups stand for the
    whole; a source too small for a place is left out. Samples per image are rounded up or down by chance.

    Args:
        questions_per_image: questions asked in one visit to an image, at most: groups are then visits, in the
            proportion that asks every sample equally often. None: groups are images with all their questions.
    """
    sources = DISTRIBUTIONS[distribution]
    most = questions_per_image or float("inf")
    visits = [source.samples / min(source.samples / source.images, most) for source in sources]
    generator = random.Random(f"{distribution} {count} {seed}")
    groups = []
    for source, number in zip(sources, _shares(visits, count), strict=True):
        for _ in range(number):
            mean = min(source.samples / source.images, most)
            samples = max(1, int(mean) + (generator.random() < mean % 1))
            image = f"{source.name} {len(groups)}"
            prefix = [generator.randrange(10, vocabulary) for _ in range(PREFIX_WORDS)]
            branches = [_branch(source, vocabulary, generator, image) for _ in range(samples)]
            groups.append(GroupSequence((image,), prefix + [IMAGE_TOKEN_ID] * tokens_per_image, branches))
    generator.shuffle(groups)
    return groups


def _branch(source: WorkloadSource, vocabulary: int, generator: random.Random, image: str) -> Branch:
    def length(low: int, usual: int, high: int) -> int:
        return round(generator.triangular(low, high, usual))

    question, answer = length(*source.question), length(*source.answer)
    ids = [generator.randrange(10, vocabulary) for _ in range(question + answer)]
    record = Record(image, source.name, "vqa", "train", (image,), (Turn("", ""),))
    return Branch(ids, [IGNORE_INDEX] * question + ids[question:], record)


def _shares(weights: Sequence[float], count: int) -> list[int]:
    """``count`` places in proportion to the weights; what is left over goes to the largest remainders."""
    exact = [weight / sum(weights) * count for weight in weights]
    shares = [int(value) for value in exact]
    for index in sorted(range(len(weights)), key=lambda i: shares[i] - exact[i])[: count - sum(shares)]:
        shares[index] += 1
    return shares
