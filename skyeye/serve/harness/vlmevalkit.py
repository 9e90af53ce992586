"""A skyeye model in VLMEvalKit (package ``vlmeval``), one question at a time, as its interface asks.

Written for VLMEvalKit as ms-vlmeval 0.0.20 has it. docs/adapters.md tells how it gets into ``supported_VLM``.
"""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

from vlmeval.vlm.base import BaseModel

from skyeye.serve.harness.backend import Backend, Question
from skyeye.serve.model import MAX_NEW_TOKENS


class SkyEye(BaseModel):
    """A checkpoint that answers VLMEvalKit's messages greedily.

    Args:
        model_path: checkpoint directory.
        max_new_tokens: longest answer, in tokens.
        device: None: the GPU of this process when there is one.
        task: see :class:`~skyeye.serve.harness.backend.Backend`.

    Raises:
        SkyEyeError: no checkpoint there, or unknown task.
    """

    INSTALL_REQ = False
    INTERLEAVE = False  # all pictures stand before the words
    allowed_types: ClassVar[list[str]] = ["text", "image"]

    def __init__(
        self, model_path: str, max_new_tokens: int = MAX_NEW_TOKENS, device: str | None = None, task: str = ""
    ):
        super().__init__()
        self._backend = Backend.open(model_path, device, batch_size=1, task=task)
        self._max_new_tokens = max_new_tokens

    def generate_inner(self, message: list[dict[str, str]], dataset: str | None = None) -> str:
        """The answer to a message: its pictures (``type`` image, ``value`` a file) and its words, line by line."""
        pictures = tuple(part["value"] for part in message if part["type"] == "image")
        words = "\n".join(part["value"] for part in message if part["type"] == "text")
        return next(self._backend.answers([Question(words, pictures, self._max_new_tokens)]))


def register(name: str, model_path: str, **arguments: Any) -> None:
    """Let VLMEvalKit know a checkpoint under a name for its ``--model``; ``arguments`` as of :class:`SkyEye`."""
    from vlmeval.config import supported_VLM  # here: that file may itself import this one

    supported_VLM[name] = partial(SkyEye, model_path=model_path, **arguments)
