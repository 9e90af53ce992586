"""The tokenizer of a folder, as vLLM asks for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vllm.tokenizers.hf import HfTokenizer, get_cached_tokenizer
from vllm.tokenizers.protocol import TokenizerLike

from skyeye.models.tokenizer import load_tokenizer


class SkyEyeTokenizer(TokenizerLike):
    """Opened by :func:`~skyeye.models.tokenizer.load_tokenizer`: transformers' way gives other ids for some texts."""

    @classmethod
    def from_pretrained(cls, path_or_repo_id: str | Path, *args: Any, **kwargs: Any) -> HfTokenizer:
        """A fast tokenizer, whose properties vLLM keeps."""
        tokenizer = load_tokenizer(path_or_repo_id)
        tokenizer.truncation_side = kwargs.get("truncation_side", "left")
        return get_cached_tokenizer(tokenizer)
