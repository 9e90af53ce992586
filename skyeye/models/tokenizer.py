"""Tokenizers: SentencePiece models with exactly their ids, and a small one learnt from a recipe's own texts.

Both are ordinary Hugging Face fast tokenizers. transformers' own conversion of a ``tokenizer.model`` ignores the scores
of the pieces and gives other ids than SentencePiece (and than the checkpoints were trained with), so it is done here.
"""

from __future__ import annotations

import codecs
import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import sentencepiece
from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from skyeye.data.hub import hub_is_reachable
from skyeye.errors import SkyEyeError

UNK, BOS, EOS, PAD = "<unk>", "<s>", "</s>", "$$"
_SPACE = "▁"  # SentencePiece's visible space

#: Pieces that stay whole in a learnt tokenizer, each also with a space before it.
_MARKUP = ["[INST]", "[/INST]", "<Img>", "</Img>", "<p>", "</p>", "<delim>", "{", "}"]
_TAGS = [f"[{tag}]" for tag in ("caption", "vqa", "refer", "identify", "detection", "grounding")]
_NUMBERS = [f"<{n}>" for n in range(101)]

#: Texts on which a converted tokenizer is compared with SentencePiece: spaces, repetitions, compatibility forms that a
#: normaliser would change, characters outside the vocabulary.
_PROBES = ["?  [/INST]", "  a  b\n\tc", "aaaaaaa ----- ......", "ﬁ Å Ａ ① é", "飞机 ★", "{<10><20><40><70>}", ""]  # noqa: RUF001

# one U+FFFD for each byte that belongs to no character, as SentencePiece does
codecs.register_error("skyeye-bytes", lambda error: ("\ufffd" * (error.end - error.start), error.end))


def load_tokenizer(path: str | Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a ``tokenizer.model`` file, of a directory written by ``save_pretrained``, or of a hub name.

    LLaMA directories that hold a ``tokenizer.model`` are read from it. The pad token is the saved one, else ``$$``,
    else the end symbol; it is known by its id only, so that a ``$$`` in a text is tokenised like any other word.

    Raises:
        SkyEyeError: nothing there, not a tokenizer, or a SentencePiece model whose ids cannot be rebuilt exactly.
    """
    path = _local(path)
    if path.is_file():
        return _from_sentencepiece(path)
    model, config_file = path / "tokenizer.model", path / "tokenizer_config.json"
    try:
        config = json.loads(config_file.read_text(encoding="utf-8")) if config_file.is_file() else {}
        kind = config.get("tokenizer_class") or ""
        if model.is_file() and (kind.startswith("Llama") or not (path / "tokenizer.json").is_file()):
            return _from_sentencepiece(model)
        reader = PreTrainedTokenizerFast if kind in ("PreTrainedTokenizerFast", "TokenizersBackend") else AutoTokenizer
        # without its pad token: from_pretrained would make it a special token, which changes the ids around it
        tokenizer = reader.from_pretrained(path, pad_token=None)
    except SkyEyeError:
        raise
    except Exception as error:  # the tokenizers library raises bare Exceptions for a broken tokenizer.json
        raise SkyEyeError(
            f"no tokenizer could be read: {(str(error) or type(error).__name__).splitlines()[0]}",
            where=str(path),
            remedy="give a tokenizer.model file or a directory with tokenizer.json",
        ) from error
    pad = config.get("pad_token")
    _set_pad(tokenizer, pad["content"] if isinstance(pad, dict) else pad)
    return tokenizer


def train_tokenizer(texts: Iterable[str], vocab_size: int, box_tokens: bool = True) -> PreTrainedTokenizerBase:
    """A tokenizer whose pieces are the words of ``texts``, the most frequent first; the same texts give the same ids.

    Words outside the vocabulary are spelt in characters, characters outside it in bytes, so every text survives
    encoding and decoding. Task tags, prompt markup and, with ``box_tokens``, ``<0>`` .. ``<100>`` are single pieces.

    Args:
        texts: questions and answers.
        vocab_size: at most so many pieces; fewer when the texts hold fewer words.
        box_tokens: numbers of boxes as single pieces, instead of digit by digit.

    Raises:
        SkyEyeError: ``vocab_size`` has no room for the pieces that must be there.
    """
    skeleton = _backend({}, [], _splitter(box_tokens))
    words: Counter[str] = Counter()
    for text in texts:  # one at a time: those of a large set need not fit into memory
        for piece, _ in skeleton.pre_tokenizer.pre_tokenize_str(skeleton.normalizer.normalize_str(text)):
            words[piece] += 1
    ascii_characters = [chr(code) for code in range(33, 127)]
    characters = sorted({character for word in words for character in word} | set(ascii_characters) | {_SPACE})
    markup = [variant for piece in _TAGS + _MARKUP for variant in (_SPACE + piece, piece)]
    fixed = [UNK, BOS, EOS, *(f"<0x{byte:02X}>" for byte in range(256)), PAD, *markup]
    fixed += (_NUMBERS if box_tokens else []) + characters
    by_frequency = sorted(words, key=lambda word: (-words[word], word))
    pieces = list(dict.fromkeys(fixed))
    if vocab_size < len(pieces):
        raise SkyEyeError(
            f"{vocab_size} pieces have no room for a word beside {len(pieces)} bytes, characters and tags",
            where="model.tokenizer.train_vocab_size",
            remedy=f"raise it well above {len(pieces)}",
        )
    pieces = list(dict.fromkeys(pieces + by_frequency))[:vocab_size]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    return _wrap(_backend(vocabulary, [], _splitter(box_tokens)))


def box_token_ids(tokenizer: PreTrainedTokenizerBase) -> list[int] | None:
    """Ids of ``<0>`` .. ``<100>`` where the tokenizer has them as single pieces, else None."""
    vocabulary = tokenizer.get_vocab()
    return [vocabulary[number] for number in _NUMBERS] if all(n in vocabulary for n in _NUMBERS) else None


def decode(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> str:
    """Text of ids without special tokens, as SentencePiece writes it where the vocabulary has byte pieces.

    The decoder of the tokenizers library turns a whole run of bytes into U+FFFD when one of them fits no character.
    """
    special = {tokenizer.unk_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id}
    if tokenizer.convert_tokens_to_ids("<0x00>") in {None, *special}:  # no byte pieces
        return tokenizer.decode(ids, skip_special_tokens=True)
    pieces = tokenizer.convert_ids_to_tokens([i for i in ids if i not in special])
    data = b""
    for place, piece in enumerate(piece or "" for piece in pieces):  # a model's head may be larger than the vocabulary
        if byte := re.fullmatch(r"<0x([0-9A-F]{2})>", piece):
            data += bytes([int(byte[1], 16)])
        else:  # the space that encoding put before the text is taken away again
            data += (piece if place else piece.removeprefix(_SPACE)).replace(_SPACE, " ").encode()
    return data.decode("utf-8", errors="skyeye-bytes")


def _local(path: str | Path) -> Path:
    if Path(path).exists():
        return Path(path)
    if re.fullmatch(r"[\w.-]+/[\w.-]+", str(path)):  # the form of a hub name
        from huggingface_hub import snapshot_download

        try:
            if not hub_is_reachable():
                return Path(snapshot_download(str(path), local_files_only=True))
            return Path(snapshot_download(str(path), allow_patterns=["*token*", "vocab*", "merges*", "config.json"]))
        except Exception as error:  # offline, unknown, gated: the hub's exceptions share no narrower base
            raise SkyEyeError(
                f"neither a local path nor to be had from the hub ({type(error).__name__})",
                where=str(path),
                remedy="give the path of a tokenizer.model file or of a directory",
            ) from error
    raise SkyEyeError("no such tokenizer", where=str(path), remedy="give a tokenizer.model file or a directory")


def _from_sentencepiece(path: Path) -> PreTrainedTokenizerFast:
    """Rebuild a SentencePiece BPE model: a merge for every way to put a piece together, best score first."""
    try:
        model = sentencepiece.SentencePieceProcessor(model_file=str(path))
    except (OSError, RuntimeError) as error:
        raise SkyEyeError("not a SentencePiece model", where=str(path), remedy="give a tokenizer.model file") from error
    ids = {model.id_to_piece(i): i for i in range(model.get_piece_size())}
    scores = {
        piece: model.get_score(i)
        for piece, i in ids.items()
        if not (model.is_control(i) or model.is_unknown(i) or model.is_byte(i))
    }
    merges = [
        (piece[:cut], piece[cut:])
        for piece in scores
        for cut in range(1, len(piece))
        if piece[:cut] in scores and piece[cut:] in scores
    ]
    merges.sort(key=lambda pair: (-scores[pair[0] + pair[1]], ids[pair[0]], ids[pair[1]]))
    tokenizer = _wrap(_backend(ids, merges, None))
    for probe in _PROBES:
        if tokenizer.encode(probe, add_special_tokens=False) != model.encode(probe):
            raise SkyEyeError(
                f"this SentencePiece model is not a LLaMA-style BPE; ids of {probe!r} would be wrong",
                where=str(path),
                remedy="give a directory with this model's tokenizer.json",
            )
    return tokenizer


def _splitter(box_tokens: bool) -> pre_tokenizers.PreTokenizer:
    """Cuts a text into words, digits, tags and signs, each with the space before it; numbers of boxes without."""
    number = rf"{_SPACE}(?=<\d{{1,3}}>)|<\d{{1,3}}>|" if box_tokens else ""
    pattern = rf"{number}{_SPACE}?(?:\[/?\p{{L}}+\]|</?\p{{L}}+>|(?:\p{{L}}\p{{M}}*)+|[^{_SPACE}])|{_SPACE}"
    return pre_tokenizers.Split(Regex(pattern), "isolated")


def _backend(
    vocabulary: dict[str, int], merges: list[tuple[str, str]], splitter: pre_tokenizers.PreTokenizer | None
) -> Tokenizer:
    """LLaMA's way: a space before each stretch between special tokens, spaces as ▁, unknown characters as bytes.

    With a ``splitter`` whole words are looked up first and there are no merges.
    """
    words_first = splitter is not None
    model = BPE(vocabulary, merges, unk_token=UNK, fuse_unk=True, byte_fallback=True, ignore_merges=words_first)
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend(_SPACE), normalizers.Replace(" ", _SPACE)])
    if splitter is not None:
        tokenizer.pre_tokenizer = splitter
    strip = decoders.Strip(" ", 1, 0)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), strip]
    )
    return tokenizer


def _wrap(backend: Tokenizer) -> PreTrainedTokenizerFast:
    special = [AddedToken(token, special=True, normalized=False) for token in (UNK, BOS, EOS)]
    backend.add_special_tokens(special)
    bos_id = backend.token_to_id(BOS)
    backend.post_processor = processors.TemplateProcessing(single=f"{BOS} $A", special_tokens=[(BOS, bos_id)])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token=UNK, bos_token=BOS, eos_token=EOS)
    _set_pad(tokenizer, None)
    return tokenizer


def _set_pad(tokenizer: PreTrainedTokenizerBase, token: str | None) -> None:
    tokenizer.pad_token = token or (PAD if PAD in tokenizer.get_vocab() else tokenizer.eos_token)
