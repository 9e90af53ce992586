"""A conversation about one picture, in the terminal or from a program."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import torch
from PIL import Image

from skyeye.data.geometry.boxes import Box, OrientedBox
from skyeye.data.images.load import load_image
from skyeye.data.prompts import PromptStyle
from skyeye.data.record import Turn
from skyeye.errors import SkyEyeError
from skyeye.generation.answer import open_to_answer
from skyeye.generation.opening import Opening
from skyeye.models.modeling import SkyEyeForConditionalGeneration
from skyeye.models.processing import SkyEyeProcessor
from skyeye.serve.draw import draw_boxes

MAX_NEW_TOKENS = 256
_USUAL = Opening()


@dataclass(frozen=True)
class Reply:
    """What the model said. ``boxes`` are the places in it, each with the phrase it belongs to (``""`` without one)."""

    text: str
    boxes: tuple[tuple[str, Box | OrientedBox], ...]


class ChatSession:
    """Questions about one picture, each answered with everything said before in view.

    Args:
        model, processor: from the same checkpoint directory.
        image: the picture; it is encoded once.
        max_new_tokens: longest answer.
    """

    def __init__(
        self,
        model: SkyEyeForConditionalGeneration,
        processor: SkyEyeProcessor,
        image: Image.Image,
        max_new_tokens: int = MAX_NEW_TOKENS,
    ):
        self.max_new_tokens = max_new_tokens
        self.model, self.processor, self.image = model.eval(), processor, image
        self.turns: list[Turn] = []
        self._pixels = processor.pixels(image)[None].to(model.device)
        with torch.no_grad():
            self._features = None if model.projector.reads_text else model.encode_images(self._pixels)

    @classmethod
    def open(
        cls,
        checkpoint: str | Path,
        image: str | Path,
        opening: Opening = _USUAL,
        max_new_tokens: int = MAX_NEW_TOKENS,
    ) -> ChatSession:
        """A session from a checkpoint and an image file.

        Raises:
            SkyEyeError: the image cannot be read, or the checkpoint cannot be opened.
        """
        picture = load_image(image)
        model, processor = open_to_answer(checkpoint, opening)
        return cls(model, processor, picture, max_new_tokens)

    def ask(self, question: str) -> Reply:
        """Answer greedily and remember the turn.

        Raises:
            SkyEyeError: the question is empty, or the conversation has outgrown what the model can read.
        """
        question = question.strip()
        if not question:
            raise SkyEyeError("the question is empty", remedy='ask something, e.g. "[caption] Describe the image."')
        builder = self.processor.builder
        ids = builder.prompt(1, [*self.turns, Turn(question, "")])
        limit = getattr(self.model.config.text_config, "max_position_embeddings", None)
        if limit is not None and len(ids) >= limit:
            what = f"the conversation has {len(ids)} tokens, the model reads {limit}"
            raise SkyEyeError(what, remedy="start over: /new in the conversation, or a new session")
        room = self.max_new_tokens if limit is None else min(self.max_new_tokens, limit - len(ids))
        output = self.model.generate(
            torch.tensor([ids], device=self.model.device),
            image_features=self._encoded([*self.turns, Turn(question, "")][0]),
            max_new_tokens=room,
            do_sample=False,
            eos_token_id=builder.end_token_ids,
        )
        text = self.processor.decode(output[0])
        self.turns.append(Turn(question, text))
        return Reply(text, tuple(labelled_boxes(text, builder.style)))

    @torch.no_grad()
    def _encoded(self, first: Turn) -> torch.Tensor:
        """The picture's tokens: encoded once, or beside the first question for a projector that reads it."""
        question = self.processor.builder.question_ids([(1, first)])
        if self._features is not None or question is None:
            return self._features
        return self.model.encode_images(self._pixels, question.to(self.model.device))

    def forget(self) -> None:
        """Start the conversation over; the picture stays."""
        self.turns.clear()


def labelled_boxes(text: str, style: PromptStyle) -> list[tuple[str, Box | OrientedBox]]:
    """Every box of an answer in order, with the phrase it belongs to: ``""`` for boxes before the first phrase."""
    return [(phrase, box) for phrase, boxes in style.read_phrases(text) for box in boxes]


def chat(
    checkpoint: str | Path,
    image: str | Path,
    questions: Sequence[str] | None,
    out: str | Path,
    opening: Opening = _USUAL,
    max_new_tokens: int = MAX_NEW_TOKENS,
) -> None:
    """``skyeye chat``: answer the questions, each for itself; without any, hold a conversation in the terminal.

    Answers go to standard output. One with boxes is also drawn into a new PNG in ``out``, whose path is printed.
    """
    session = ChatSession.open(checkpoint, image, opening, max_new_tokens)
    if questions is None:
        converse(session, Path(image), Path(out))
        return
    for question in questions:
        session.forget()
        print(f"> {question}")
        tell(session, session.ask(question), Path(image), Path(out))


def converse(session: ChatSession, image: Path, out: Path) -> None:
    """Read questions from the terminal until it ends; the history is kept between them."""
    tags = " ".join(dict.fromkeys(session.processor.builder.style.tags.values()))
    print(f"Ask about {image.name}." + (f" A question may open with a task: {tags}" if tags else ""))
    print("/new forgets what was said; an empty line or Ctrl-D ends.")
    while True:
        try:
            question = input("> ").strip()
        except (EOFError, KeyboardInterrupt):
            print()
            return
        if not question:
            return
        if question == "/new":
            session.forget()
            continue
        try:
            tell(session, session.ask(question), image, out)
        except SkyEyeError as error:
            print(f"error: {error}")


def tell(session: ChatSession, answer: Reply, image: Path, out: Path) -> None:
    """Print an answer and, when it names places, draw them."""
    print(answer.text or "(no words)", flush=True)
    if answer.boxes:
        free = next(path for n in count(1) if not (path := out / f"{image.stem}-{n}.png").exists())
        print(f"drawn: {draw_boxes(session.image, answer.boxes, free)}", flush=True)
