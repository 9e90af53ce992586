"""The text of an answer while its tokens come."""

from __future__ import annotations

from collections.abc import Sequence

from skyeye.data.sequence import SequenceBuilder
from skyeye.models.processing import decode_answer

_INCOMPLETE = "\N{REPLACEMENT CHARACTER}"  # of a character whose further bytes have not come


class Said:
    """The tokens of one answer, and how much of their text may be told.

    Args:
        stops: texts that end the answer; they are not part of it.
    """

    def __init__(self, builder: SequenceBuilder, stops: Sequence[str]):
        self.builder, self.stops = builder, stops
        # decoding cuts the text at its own end symbols, which a model may spell out in several tokens
        self._held = [*stops, *builder.style.ends()]
        self.ids: list[int] = []
        self.log_probabilities: list[float] = []
        self.text = ""  # that may be told
        self.stopped = False
        self._told = 0  # characters
        self._told_ids = 0

    def add(self, token: int, log_probability: float | None) -> None:
        """A token has come."""
        self.ids.append(token)
        if log_probability is not None:
            self.log_probabilities.append(log_probability)

    def look(self, last: bool) -> None:
        """Read the tokens; :attr:`stopped` says afterwards whether a stop text came.

        Args:
            last: no further token comes.
        """
        text = decode_answer(self.builder, self.ids)
        places = [place for stop in self.stops if (place := text.find(stop)) >= 0]
        if places:
            self.stopped = True
            text = text[: min(places)]
        elif not last:
            text = text[: len(text) - self._uncertain(text)]
        self.text = text

    @property
    def has_news(self) -> bool:
        """Whether there is text that has not been told."""
        return len(self.text) > self._told

    def take(self) -> tuple[str, tuple[int, ...], tuple[float, ...]]:
        """Text, ids and log-probabilities that have not been told; now they are."""
        text, ids = self.text[self._told :], tuple(self.ids[self._told_ids :])
        told = tuple(self.log_probabilities[self._told_ids :])
        self._told, self._told_ids = max(self._told, len(self.text)), len(self.ids)
        return text, ids, told

    def _uncertain(self, text: str) -> int:
        """Characters at the end that the next token may change or that may begin a stop text."""
        most = len(text) - len(text.rstrip(_INCOMPLETE))
        for stop in self._held:
            for count in range(min(len(stop) - 1, len(text)), most, -1):
                if text.endswith(stop[:count]):
                    most = count
                    break
        return most
