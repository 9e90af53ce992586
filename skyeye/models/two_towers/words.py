"""Captions as ids: CLIP's byte-pair vocabulary, from any of the files it is published in, or a learnt tokenizer.

CLIP's text is repaired (where ftfy is installed), unescaped, stripped of repeated blanks and lower-cased, then split
into words; every word is spelt in pieces, of which the last ends in ``</w>``.
"""

from __future__ import annotations

import gzip
import html
import logging
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerBase

from skyeye.data.hub import local_path
from skyeye.errors import SkyEyeError
from skyeye.models.tokenizer import load_tokenizer
from skyeye.models.weights import read_json_object

logger = logging.getLogger(__name__)
_BEGIN, _END, _WORD_END = "<|startoftext|>", "<|endoftext|>", "</w>"
_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"
_MERGES = 48894  # of its list that CLIP uses; the rest of the file is left over


class CaptionTokenizer:
    """Texts -> ids of one length.

    Args:
        backend: CLIP's pieces, or a learnt tokenizer with begin and end.
        context: ids of a text, begin and end included; of a longer one the last becomes the end.
    """

    def __init__(self, backend: Tokenizer | PreTrainedTokenizerBase, context: int):
        self.backend, self.context = backend, context
        if isinstance(backend, Tokenizer):
            self.begin, self.end = backend.token_to_id(_BEGIN), backend.token_to_id(_END)
            self.vocab_size = backend.get_vocab_size()
        else:
            self.begin, self.end, self.vocab_size = backend.bos_token_id, backend.eos_token_id, len(backend)

    def __call__(self, texts: Sequence[str]) -> torch.Tensor:
        """(N, context) ids, 0 behind the end."""
        rows = torch.zeros(len(texts), self.context, dtype=torch.long)
        for row, text in zip(rows, texts, strict=True):
            ids = [self.begin, *self.pieces(text), self.end][: self.context]
            ids[-1] = self.end
            row[: len(ids)] = torch.tensor(ids)
        return rows

    def pieces(self, text: str) -> list[int]:
        """The ids of a text, without begin and end."""
        if isinstance(self.backend, Tokenizer):
            return self.backend.encode(cleaned(text), add_special_tokens=False).ids
        return self.backend.encode(text, add_special_tokens=False)

    def save(self, folder: Path) -> None:
        """Write what :func:`load_caption_tokenizer` reads."""
        if isinstance(self.backend, Tokenizer):
            self.backend.save(str(folder / "tokenizer.json"))
        else:
            self.backend.save_pretrained(folder)


def load_caption_tokenizer(source: str | Path, context: int) -> CaptionTokenizer:
    """The tokenizer of a folder or name on the hub with ``tokenizer.json`` or ``vocab.json`` and ``merges.txt``, of one
    that was learnt here, or of CLIP's own ``bpe_simple_vocab_16e6.txt.gz``.

    Raises:
        SkyEyeError: there is none, or it is no such tokenizer.
    """
    path = local_path(source)
    if path is None:
        remedy = (
            f"hf download {source}, or give bpe_simple_vocab_16e6.txt.gz or a folder with vocab.json and merges.txt"
        )
        raise SkyEyeError("is not on this machine", where=f"model.tokenizer.path {source}", remedy=remedy)
    if path.is_file():
        return CaptionTokenizer(_from_list(path), context)
    vocabulary, merges = path / "vocab.json", path / "merges.txt"
    if (path / "tokenizer.json").is_file():
        model = read_json_object(path / "tokenizer.json").get("model")
        if isinstance(model, dict) and model.get("end_of_word_suffix") == _WORD_END:
            pairs = [tuple(pair.split(" ")) if isinstance(pair, str) else tuple(pair) for pair in model["merges"]]
            return CaptionTokenizer(_clip(model["vocab"], pairs), context)
    elif vocabulary.is_file() and merges.is_file():
        return CaptionTokenizer(_clip(read_json_object(vocabulary), _pairs(merges.read_text("utf-8"))), context)
    return CaptionTokenizer(load_tokenizer(path), context)


def cleaned(text: str) -> str:
    """A text as CLIP reads it."""
    return " ".join(html.unescape(html.unescape(_repair()(text))).split()).strip().lower()


@cache
def _repair():
    try:
        from ftfy import fix_text
    except ImportError:
        logger.info("ftfy is not installed: texts with damaged characters are read as they are")
        return str
    return fix_text


def _from_list(path: Path) -> Tokenizer:
    """Of CLIP's own file: bytes, bytes that end a word, a piece for every merge, begin and end."""
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        pairs = _pairs(content.decode("utf-8"))[:_MERGES]
    except (OSError, UnicodeDecodeError) as error:
        remedy = "give bpe_simple_vocab_16e6.txt.gz as it was published"
        raise SkyEyeError(f"is no list of merges: {error}", where=str(path), remedy=remedy) from error
    characters = _byte_characters()
    pieces = [*characters, *(c + _WORD_END for c in characters), *("".join(pair) for pair in pairs), _BEGIN, _END]
    return _clip({piece: number for number, piece in enumerate(pieces)}, pairs)


def _clip(vocabulary: dict[str, int], merges: Iterable[tuple[str, str]]) -> Tokenizer:
    if _BEGIN not in vocabulary or _END not in vocabulary:
        what = f"has no {_BEGIN} and {_END}, so it is not CLIP's"
        raise SkyEyeError(what, where="model.tokenizer.path", remedy="give the tokenizer of a CLIP")
    tokenizer = Tokenizer(BPE(vocabulary, list(merges), end_of_word_suffix=_WORD_END, unk_token=_END))
    words = pre_tokenizers.Split(Regex(_WORDS), "removed", invert=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([words, pre_tokenizers.ByteLevel(False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _pairs(text: str) -> list[tuple[str, str]]:
    """The merges of a list; its first line says its version."""
    lines = [line for line in text.split("\n")[1:] if line.strip()]
    return [(first, second) for first, second in (line.split() for line in lines)]


def _byte_characters() -> list[str]:
    """A printable character for every byte, in the order of CLIP's vocabulary."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [chr(byte) for byte in printable] + [chr(256 + n) for n in range(256 - len(printable))]
