"""The objects that clients read."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from typing import Any

from skyeye.models.processing import SkyEyeProcessor
from skyeye.serve.api.jobs import Piece


class Reply:
    """The answer to one request, whole or in pieces.

    Args:
        model: its name.
        prompt_tokens: of the prompt, images included.
        log_probabilities: whether they are asked for.
    """

    def __init__(self, processor: SkyEyeProcessor, model: str, prompt_tokens: int, log_probabilities: bool):
        self.processor, self.model, self.prompt_tokens = processor, model, prompt_tokens
        self.log_probabilities = log_probabilities
        self.id = f"chatcmpl-{uuid.uuid4().hex}"
        self.created = int(time.time())
        self.answer_tokens = self.stored_tokens = 0
        self._special = set(processor.tokenizer.all_special_ids)

    def count(self, piece: Piece) -> None:
        """Add the tokens of a piece."""
        self.answer_tokens += len(piece.ids)
        self.stored_tokens = max(self.stored_tokens, piece.stored_tokens)

    @property
    def usage(self) -> dict[str, Any]:
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.answer_tokens,
            "total_tokens": self.prompt_tokens + self.answer_tokens,
            "prompt_tokens_details": {"cached_tokens": self.stored_tokens},
        }

    def whole(self, answers: Sequence[tuple[str, Sequence[Piece]]]) -> dict[str, Any]:
        """The completion: of each answer its content and its pieces."""
        choices = [
            {
                "index": index,
                "message": {"role": "assistant", "content": content, "refusal": None},
                "logprobs": self._told(pieces),
                "finish_reason": pieces[-1].finish_reason,
            }
            for index, (content, pieces) in enumerate(answers)
        ]
        return {**self._head("chat.completion"), "choices": choices, "usage": self.usage}

    def first(self, choice: int) -> dict[str, Any]:
        """The chunk before the first words of an answer."""
        return self._chunk(choice, {"role": "assistant", "content": ""}, None, None)

    def piece(self, piece: Piece, content: str) -> dict[str, Any]:
        """The chunk of a piece."""
        delta = {"content": content} if content else {}
        return self._chunk(piece.choice, delta, self._told([piece]), piece.finish_reason)

    def last(self) -> dict[str, Any]:
        """The chunk with the usage alone."""
        return {**self._head("chat.completion.chunk"), "choices": [], "usage": self.usage}

    def _chunk(self, choice: int, delta: dict[str, str], told: Any, reason: str | None) -> dict[str, Any]:
        one = {"index": choice, "delta": delta, "logprobs": told, "finish_reason": reason}
        return {**self._head("chat.completion.chunk"), "choices": [one]}

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}

    def _told(self, pieces: Sequence[Piece]) -> dict[str, Any] | None:
        """Log-probabilities of tokens, end tokens left out."""
        if not self.log_probabilities:
            return None
        tokens = [
            (self.processor.tokenizer.decode([token]), value)
            for piece in pieces
            for token, value in zip(piece.ids, piece.log_probabilities, strict=True)
            if token not in self._special
        ]
        content = [
            {"token": text, "logprob": value, "bytes": list(text.encode()), "top_logprobs": []}
            for text, value in tokens
        ]
        return {"content": content, "refusal": None}
