"""A conversation about pictures, from a program or in the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path

from skyeye.data.files import whole_file
from skyeye.data.record import Turn
from skyeye.data.tasks import FREE
from skyeye.errors import SkyEyeError
from skyeye.generation.answer import open_to_answer
from skyeye.generation.opening import Opening
from skyeye.generation.sampling import Sampling
from skyeye.serve.answer import Answer
from skyeye.serve.model import MAX_NEW_TOKENS, Model, Pictures, Region, Request
from skyeye.serve.pictures import show_all
from skyeye.serve.streaming import AnswerStream

#: What begins the conversation anew, in place of a question.
NEW = "/new"
_USUAL = Opening()


class Chat:
    """Questions about the same pictures, each answered with everything said before in view.

    Beyond the length that the model reads the oldest turns go, and the answer's notes say so.

    Args:
        images: see :meth:`~skyeye.serve.model.Model.ask`; they are encoded once.

    Attributes:
        turns: what was said, and is still in view.

    Raises:
        SkyEyeError: a picture cannot be read.
    """

    def __init__(self, model: Model, images: Pictures = None):
        self.model = model
        self.turns: list[Turn] = []
        self.show(images)

    def show(self, images: Pictures) -> None:
        """Begin anew with other pictures.

        Raises:
            SkyEyeError: one cannot be read.
        """
        self.pictures = show_all(images)
        self.forget()
        if not self.model.network.projector.reads_text:
            self.model.pictures.encode(self.pictures)

    def forget(self) -> None:
        """Begin anew with the same pictures."""
        self.turns.clear()

    def ask(
        self,
        question: str,
        *,
        task: str = FREE,
        region: Region | Sequence[Region] | None = None,
        max_new_tokens: int = MAX_NEW_TOKENS,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int | None = None,
    ) -> Answer:
        """Answer and remember the turn; :data:`NEW` begins anew.

        Raises:
            SkyEyeError: as :meth:`~skyeye.serve.model.Model.ask`.
        """
        if question.strip() == NEW:
            self.forget()
            return Answer("", notes=("the conversation begins anew",))
        request, gone = self._request(question, task, region, max_new_tokens)
        sampling = Sampling(temperature, top_p, seed, log_probabilities=True)
        answer = next(answer for _, answer in self.model.answers([request], max_new_tokens, sampling))
        return self._remember(request, answer, gone)

    def stream(
        self,
        question: str,
        *,
        task: str = FREE,
        region: Region | Sequence[Region] | None = None,
        max_new_tokens: int = MAX_NEW_TOKENS,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int | None = None,
    ) -> AnswerStream:
        """As :meth:`ask`, piece by piece; the turn is remembered when the last has come."""
        if question.strip() == NEW:
            return AnswerStream(iter([self.ask(question)]))
        request, gone = self._request(question, task, region, max_new_tokens)
        sampling = Sampling(temperature, top_p, seed, log_probabilities=True)

        def pieces() -> Iterator[str | Answer]:
            for piece in self.model.pieces(request, max_new_tokens, sampling):
                yield self._remember(request, piece, gone) if isinstance(piece, Answer) else piece

        return AnswerStream(pieces())

    def _request(
        self, question: str, task: str, region: Region | Sequence[Region] | None, max_new_tokens: int
    ) -> tuple[Request, int]:
        """The question behind as many turns as leave room for an answer, and how many older ones do not."""
        asked = self.model.request(self.pictures, question, task=task, region=region)
        limit = self.model.limit
        turns = [*self.turns, *asked.turns]
        if limit is not None:
            room = min(max_new_tokens, limit // 4)
            while len(turns) > 1 and len(self.model.builder.prompt(len(self.pictures), turns)) + room > limit:
                del turns[0]
        return Request(self.pictures, tuple(turns)), len(self.turns) + 1 - len(turns)

    def _remember(self, request: Request, answer: Answer, gone: int) -> Answer:
        """Keep the turn; the answer with a note where ``gone`` turns were left out."""
        asked = request.turns[-1]
        self.turns = [*request.turns[:-1], Turn(asked.question, answer.text, asked.task, asked.mentions)]
        if not gone:
            return answer
        turns = f"{gone} oldest turns are" if gone > 1 else "oldest turn is"
        note = f"the {turns} no longer in view: the model reads {self.model.limit:,} tokens"
        return replace(answer, notes=(*answer.notes, note))


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

    Raises:
        SkyEyeError: the image cannot be read, or the checkpoint cannot be opened.
    """
    shown = show_all(image)
    conversation = Model(*open_to_answer(checkpoint, opening)).chat(shown)
    if questions is None:
        converse(conversation, Path(image), Path(out), max_new_tokens)
        return
    for question in questions:
        conversation.forget()
        print(f"> {question}")
        tell(conversation.ask(question, max_new_tokens=max_new_tokens), Path(image), Path(out))


def converse(conversation: Chat, image: Path, out: Path, max_new_tokens: int = MAX_NEW_TOKENS) -> None:
    """Read questions from the terminal until it ends; the history is kept between them."""
    tags = " ".join(dict.fromkeys(conversation.model.builder.style.tags.values()))
    print(f"Ask about {image.name}." + (f" A question may open with a task: {tags}" if tags else ""))
    print(f"{NEW} forgets what was said; an empty line or Ctrl-D ends.")
    while True:
        try:
            question = input("> ").strip()
        except (EOFError, KeyboardInterrupt):
            print()
            return
        if not question:
            return
        if question == NEW:
            conversation.forget()
            continue
        try:
            tell(conversation.ask(question, max_new_tokens=max_new_tokens), image, out)
        except SkyEyeError as error:
            print(f"error: {error}")


def tell(answer: Answer, image: Path, out: Path) -> None:
    """Print an answer and, when it names places, draw them."""
    print(answer.text or "(no words)", flush=True)
    for note in answer.notes:
        print(f"note: {note}", flush=True)
    if answer.boxes:
        free = next(path for n in count(1) if not (path := out / f"{image.stem}-{n}.png").exists())
        with whole_file(free) as file:
            answer.draw().save(file, format="PNG")
        print(f"drawn: {free}", flush=True)
