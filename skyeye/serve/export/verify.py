"""Whether an exported folder is whole, may be handed on, and answers like the checkpoint that it was made of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import torch

from skyeye.config.schema import ModelConfig
from skyeye.errors import SkyEyeError
from skyeye.models.base import FILE as BASE
from skyeye.models.pretrained import open_checkpoint
from skyeye.models.weights import read_json_object
from skyeye.serve.export.card import QUESTION
from skyeye.serve.export.checksums import wrong_files
from skyeye.serve.export.formats import REFERENCE
from skyeye.serve.export.hub import what_the_hub_would_refuse
from skyeye.serve.export.plain_llava import PlainLlava, is_plain_llava
from skyeye.serve.model import Model, Request

#: With our code both compute the same sums of the same weights; transformers adds in another order.
TOLERANCE = 1e-3
#: Tokens of an answer.
LONGEST = 64


@dataclass(frozen=True)
class Verified:
    """One question to both models.

    Attributes:
        image, question: what was asked.
        answer: of the folder.
        expected: of the checkpoint; None: none was given.
        difference: the largest one between the logits at all places of the prompt; None: none was given.
    """

    image: str
    question: str
    answer: str
    expected: str | None = None
    difference: float | None = None

    def agrees(self, tolerance: float) -> bool:
        """Whether answers are the same, and logits within the tolerance."""
        return self.expected is None or (self.answer == self.expected and (self.difference or 0.0) <= tolerance)


def check_files(folder: Path) -> list[str]:
    """What is wrong with the files of an export, a sentence each: changed since, or nothing for the hub.

    Raises:
        SkyEyeError: it is no folder that :func:`~skyeye.serve.export.formats.export` wrote.
    """
    if not folder.is_dir():
        raise SkyEyeError("no such folder", where=str(folder), remedy="give a folder that skyeye export wrote")
    pickled = (folder / REFERENCE).is_file()
    return [*wrong_files(folder), *what_the_hub_would_refuse(folder, pickles=pickled)]


def compare(
    folder: Path,
    against: str | Path | None,
    images: Sequence[Path],
    questions: Sequence[str] = (QUESTION,),
    base: str | Path | ModelConfig | None = None,
    family: str | None = None,
) -> Iterator[Verified]:
    """Ask the folder, and the checkpoint that it was made of, about each picture.

    The checkpoint is opened in the precision of the folder, its adapters merged where the folder has none: so both hold
    the same numbers. A plain LLaVA folder is computed by transformers, both in float32, on the pixels and the words
    that our processor makes; without a checkpoint, on those that its own makes.

    Args:
        base: of the checkpoint, and of a folder that leaves out its base.
        family: of the checkpoint.

    Raises:
        SkyEyeError: one of them cannot be opened, or a picture cannot be read.
    """
    ours = PlainLlava(folder) if is_plain_llava(folder) else _Opened(_open(folder, folder, base))
    theirs = None if against is None else _Opened(_open(folder, against, base, family))
    if isinstance(ours, PlainLlava) and theirs is not None:
        ours.round_alike(theirs.model.network)
    for image, question in product(images, questions):
        if theirs is None:
            yield Verified(str(image), question, ours.ask(image, question))
            continue
        asked = theirs.model.request(image, question)
        (answer, found), (expected, right) = (each.answer_and_logits(theirs.model, asked) for each in (ours, theirs))
        width = min(found.shape[-1], right.shape[-1])  # a vocabulary may be filled up with rows that are no words
        difference = (found[..., :width].float() - right[..., :width].float()).abs().max().item()
        yield Verified(str(image), question, answer, expected, difference)


class _Opened:
    """A checkpoint that our code computes."""

    def __init__(self, model: Model):
        self.model = model

    def ask(self, image: Path, question: str) -> str:
        """The greedy answer."""
        return self.model.ask(image, question, max_new_tokens=LONGEST).text

    @torch.inference_mode()
    def answer_and_logits(self, asking: Model, asked: Request) -> tuple[str, torch.Tensor]:
        """The greedy answer, and the logits (1, tokens, vocabulary) at all places of the prompt.

        Args:
            asking: whose words and pixels are given.
        """
        answer = next(self.model.answers([asked], LONGEST))[1].text
        ids = torch.tensor([asking.builder.prompt(len(asked.pictures), asked.turns)])
        features = self.model.pictures.tokens(asked.pictures, asked.turns[0])
        return answer, self.model.network(ids, image_features=features).logits


def _open(
    folder: Path, checkpoint: str | Path, base: str | Path | ModelConfig | None, family: str | None = None
) -> Model:
    """The folder itself, or what it was made of, in the precision of the folder."""
    own, config = checkpoint == folder, {}
    if (folder / "config.json").is_file():
        config = read_json_object(folder / "config.json")
    if own and (folder / REFERENCE).is_file():
        checkpoint = folder / REFERENCE
    elif own and not (folder / BASE).is_file():
        base = None
    named = config.get("dtype") or "float32"
    plain = is_plain_llava(folder)
    network, processor = open_checkpoint(
        checkpoint,
        base=base,
        precision=getattr(torch, named if named in ("bfloat16", "float16") else "float32"),
        keep_adapters=not plain and (not config or config.get("lora") is not None),
        family=family,
        quantize=config.get("quantized"),
    )
    return Model(network, processor)
