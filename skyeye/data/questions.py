"""Questions for a projector that reads them: pieces of BERT's vocabulary, beside the ids of the language model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from skyeye.errors import SkyEyeError

if TYPE_CHECKING:
    import torch

PADDING = -1  # in the ids of questions of different lengths
_CLS, _SEP, _PAD, _UNK = "[CLS]", "[SEP]", "[PAD]", "[UNK]"


class QuestionEncoder:
    """Small-letter WordPiece, as ``bert-base-uncased`` has it: ``[CLS]``, the pieces, ``[SEP]``.

    Args:
        vocabulary: the pieces, by their ids.
        longest: ids of a question at most; of a longer one the last pieces are kept, as InstructBLIP does.

    Raises:
        SkyEyeError: the vocabulary is none of BERT's.
    """

    def __init__(self, vocabulary: Sequence[str], longest: int):
        from tokenizers import BertWordPieceTokenizer  # here, because most recipes have no use for it

        if missing := {_CLS, _SEP, _PAD, _UNK}.difference(vocabulary):
            what = f"is no vocabulary of BERT's: it lacks {', '.join(sorted(missing))}"
            raise SkyEyeError(what, where="model.projector.vocabulary", remedy="give vocab.txt of bert-base-uncased")
        self.vocabulary, self.longest = list(vocabulary), longest
        self._tokenizer = BertWordPieceTokenizer({piece: number for number, piece in enumerate(vocabulary)})

    @classmethod
    def from_file(cls, path: Path, longest: int) -> QuestionEncoder:
        """From ``vocab.txt``: a piece in every line.

        Raises:
            SkyEyeError: it is not there, or no such file.
        """
        file = path / "vocab.txt" if path.is_dir() else path
        try:
            vocabulary = file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            what = f"no vocabulary can be read: {getattr(error, 'strerror', None) or error}"
            raise SkyEyeError(what, where=str(file), remedy="give vocab.txt of bert-base-uncased") from error
        return cls(vocabulary, longest)

    def ids(self, question: str) -> list[int]:
        """The ids of one question."""
        first, *pieces, last = self._tokenizer.encode(question).ids
        return [first, *pieces[-(self.longest - 2) :], last]

    def __call__(self, questions: Iterable[str]) -> torch.Tensor:
        """(N, L) int64, the shorter ones padded with :data:`PADDING` on the right."""
        import torch

        rows = [self.ids(question) for question in questions]
        longest = max(map(len, rows))
        return torch.tensor([row + [PADDING] * (longest - len(row)) for row in rows])
