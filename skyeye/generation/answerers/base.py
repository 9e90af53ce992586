"""What a benchmark needs of whoever answers, and nothing more."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from skyeye.data.record import Record
from skyeye.generation.certainty import Told

#: A record -> what is asked of it, as text, with the boxes in it written as the one who is asked writes them.
Words = Callable[[Record], str]


def greedy_words(max_new_tokens: int) -> str:
    """How answers without chance were made, in words."""
    return f"greedy, one beam, at most {max_new_tokens} new tokens, asked once"


@dataclass(frozen=True)
class Reply:
    """What is answered to a question.

    Attributes:
        cut: it was not at its end when it was as long as was allowed.
        embedding: in the place of words, of a question that allows no token: the vector of its picture or text.
        refused: why there is no answer, in the words of a server that takes the question as wrong; empty: there is one.
        told: of an answer that is to name all objects of a class, its tokens, from which boxes have their certainty;
            empty: they are not told.
    """

    text: str
    cut: bool = False
    refused: str = ""
    embedding: tuple[float, ...] | None = None
    told: tuple[Told, ...] = ()


@dataclass(frozen=True)
class ServerSettings:
    """How a server is asked.

    Attributes:
        concurrency: questions that are with the server at the same time.
        timeout: seconds that an answer may take.
        first_wait: seconds before a question is asked for the second time.
    """

    concurrency: int = 8
    timeout: float = 120.0
    first_wait: float = 1.0


class Answerer(Protocol):
    """Whoever answers questions about pictures. Answers are greedy, and each question is asked once."""

    @property
    def about(self) -> dict[str, Any]:
        """What is said of it beside its scores: ``parameters``, ``dtype``, ``device``, as far as they are known."""

    def decoding(self, max_new_tokens: int) -> str:
        """How the answers were made, in words for the protocol of a score."""

    def answers(self, records: Sequence[Record], max_new_tokens: int) -> Iterator[tuple[int, Reply]]:
        """Answer the first question of every record.

        Args:
            records: with any number of images, none included.
            max_new_tokens: longest answer, in tokens of the model.

        Yields:
            (index of a record, the answer), as they become ready.

        Raises:
            SkyEyeError: a question cannot be asked, or nobody answers any more.
        """
