"""What one visitor of the page has before him: pictures, and a conversation with each model about them."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from skyeye.errors import SkyEyeError
from skyeye.serve.answer import Answer
from skyeye.serve.chat import NEW, Chat
from skyeye.serve.model import Model
from skyeye.serve.web.render import Exchange, Region
from skyeye.serve.web.tasks import split_tag
from skyeye.serve.web.uploads import Opened

_log = logging.getLogger("skyeye.web")
_PAUSE = 0.1  # seconds between two looks at an answer that comes


@dataclass(frozen=True)
class NamedModel:
    """A model of the page.

    Attributes:
        thread: in which it computes. Visitors share it, and what is compiled for a GPU belongs to one thread.
    """

    name: str
    model: Model
    thread: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1), repr=False, compare=False)


@dataclass(frozen=True)
class How:
    """How an answer is made, as the sliders say."""

    max_new_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None


class Visitor:
    """Pictures, and one conversation for each model.

    Attributes:
        files: of the pictures.
        opened: the pictures; the boxes of answers are those of the first.
        exchanges: of each model.
        pressed: task of the button that was pressed last.
    """

    def __init__(self, models: Sequence[NamedModel]):
        self.models = models
        self.files: list[str] = []
        self.opened: list[Opened] = []
        self.chats = [Chat(named.model) for named in models]
        self.exchanges: list[list[Exchange]] = [[] for _ in models]
        self.pressed = ""

    def show(self, opened: Sequence[Opened]) -> None:
        """Begin anew with other pictures."""
        self.opened = list(opened)
        for named, chat in zip(self.models, self.chats, strict=True):
            named.thread.submit(chat.show, [one.shown for one in opened]).result()
        self.forget()

    def forget(self) -> None:
        """Begin anew with the same pictures."""
        for chat, exchanges in zip(self.chats, self.exchanges, strict=True):
            chat.forget()
            exchanges.clear()

    def answer(self, number: int) -> Answer | None:
        """The latest answer of a model that has come to its end."""
        return next((e.answer for e in reversed(self.exchanges[number]) if e.answer is not None), None)

    def ask(self, question: str, region: Region | None, how: How) -> Iterator[int]:
        """Ask every model, one after the other. Yields the number of the model whose conversation has changed.

        Raises:
            SkyEyeError: there is nothing to ask.
        """
        if question.strip() == NEW:
            self.forget()
            yield from range(len(self.models))
            return
        if not question.strip() and region is None:
            raise SkyEyeError("the question is empty", remedy="write one, or press a task's button")
        for number in range(len(self.models)):
            task, words = split_tag(question, self.models[0].model.builder.style, self.pressed)
            exchanges = self.exchanges[number]
            exchanges.append(Exchange(question.strip() or "(the region)"))
            yield number
            yield from self._answer(number, task, words, region, how)
            yield number

    def _answer(self, number: int, task: str, words: str, region: Region | None, how: How) -> Iterator[int]:
        exchanges, thread = self.exchanges[number], self.models[number].thread
        asked = exchanges[-1].question
        try:
            stream = self.chats[number].stream(words, task=task, region=region, **vars(how))
            pieces = iter(stream)
            text, looked = "", time.monotonic()
            while (piece := thread.submit(next, pieces, None).result()) is not None:
                text += piece
                exchanges[-1] = Exchange(asked, text)
                if time.monotonic() - looked > _PAUSE:
                    looked = time.monotonic()
                    yield number
            exchanges[-1] = Exchange(asked, text, stream.answer)
        except SkyEyeError as error:
            exchanges[-1] = Exchange(asked, error=str(error))
        except Exception as error:  # a page is no place for a traceback; the terminal has it
            _log.exception("a question could not be answered")
            exchanges[-1] = Exchange(asked, error=f"the model failed: {type(error).__name__}: {error}")
