"""An answer as it comes."""

from __future__ import annotations

from collections.abc import Iterator

from skyeye.serve.answer import Answer


class AnswerStream:
    """The pieces of an answer's text, in order; when they have come, the whole answer.

    Args:
        pieces: of the text, and the answer at the end.

    Attributes:
        answer: None until the last piece has come.
    """

    def __init__(self, pieces: Iterator[str | Answer]):
        self._pieces = pieces
        self.answer: Answer | None = None

    def __iter__(self) -> Iterator[str]:
        for piece in self._pieces:
            if isinstance(piece, Answer):
                self.answer = piece
            else:
                yield piece
