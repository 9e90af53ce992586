"""A SentencePiece file of LLaMA-2's make-up and size: 32,000 pieces, bytes for what no piece spells.

Its pieces are all that two to four letters give, and mean nothing.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import islice, product
from string import ascii_lowercase, printable

from skyeye.models.tokenizer import BOS, EOS, PAD, UNK

PIECES = 32_000
_SPACE = "▁"
#: Kinds of pieces in SentencePiece's protocol buffer.
_NORMAL, _UNKNOWN, _CONTROL, _BYTE = 1, 2, 3, 6


def tokenizer_model() -> bytes:
    """The content of a ``tokenizer.model`` file: BPE with bytes, a space before every text, nothing normalised."""
    fixed = [(UNK, _UNKNOWN), (BOS, _CONTROL), (EOS, _CONTROL), *((f"<0x{byte:02X}>", _BYTE) for byte in range(256))]
    letters = sorted({_SPACE, *printable.strip()})
    joined = list(islice(_joined(), PIECES - len(fixed) - len(letters)))
    pieces = [*((piece, 0.0, kind) for piece, kind in fixed)]
    # in the order of their scores, as SentencePiece learns them: what is joined first, then single letters
    pieces += [(piece, -float(rank), _NORMAL) for rank, piece in enumerate([*joined, *letters])]
    trainer = _field(3, 2) + _field(4, PIECES) + _field(35, 1) + _field(40, 0) + _field(41, 1) + _field(42, 2)
    normalizer = _field(1, b"identity") + _field(2, b"") + _field(3, 1) + _field(4, 0) + _field(5, 1)
    body = b"".join(_field(1, _field(1, p.encode()) + _float(2, score) + _field(3, kind)) for p, score, kind in pieces)
    return body + _field(2, trainer) + _field(3, normalizer)


def _joined() -> Iterator[str]:
    """``$$``, and pieces of two, three and four letters, each made of shorter ones; some begin a word."""
    yield PAD
    for length in (1, 2, 3):
        for rest in product(ascii_lowercase, repeat=length):
            yield _SPACE + "".join(rest)
        if length < 3:
            yield from ("".join(pair) for pair in product(ascii_lowercase, repeat=length + 1))


def _field(number: int, value: int | bytes) -> bytes:
    """A field of a protocol buffer: a whole number, or bytes with their length."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _float(number: int, value: float) -> bytes:
    return _varint(number << 3 | 5) + struct.pack("<f", value)


def _varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first."""
    groups = bytearray()
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*groups, value])
