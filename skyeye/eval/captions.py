"""Caption metrics by pycocoevalcap: BLEU-1..4, METEOR, ROUGE_L, CIDEr; SPICE is never constructed (it downloads).

With Java: the PTB tokenizer of the coco-caption code and METEOR. Without Java: words are runs of letters and digits,
lower-cased (see :func:`simple_tokens`), there is no METEOR, and :attr:`CaptionScorer.notes` says both.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.meteor.meteor import Meteor
from pycocoevalcap.rouge.rouge import Rouge
from pycocoevalcap.tokenizer import ptbtokenizer

_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)?")

FALLBACK_NOTE = (
    "Java was not found: captions were split into runs of letters and digits instead of by the PTB tokenizer, "
    "and METEOR is missing; the numbers are close to, but not the same as, those of the coco-caption code"
)
ONE_IMAGE_NOTE = "CIDEr weighs words by how many images use them: over a single image it is always 0"


def simple_tokens(text: str) -> str:
    """Fallback tokenisation: lower-case words of letters and digits (an inner apostrophe stays), joined by spaces."""
    return " ".join(_WORD.findall(text.lower()))


def ptb_tokens(texts: Sequence[str], java: str) -> list[str]:
    """Tokenise like ``pycocoevalcap.tokenizer.PTBTokenizer``, through standard input instead of a file.

    The wrapper of the library writes its temporary file into site-packages, which may be read-only, and two evaluations
    at once would share it. The call, its options and the removed punctuation are the library's.
    """
    folder = Path(ptbtokenizer.__file__).parent
    command = [java, "-cp", ptbtokenizer.STANFORD_CORENLP_3_4_1_JAR, "edu.stanford.nlp.process.PTBTokenizer"]
    command += ["-preserveLines", "-lowerCase", "-encoding", "utf8"]
    # one line per text: any kind of line break inside a text would shift all that follow
    lines = "\n".join(" ".join(text.split()) for text in texts) + "\n"
    done = subprocess.run(command, cwd=folder, input=lines.encode(), capture_output=True, check=True)
    tokenised = done.stdout.decode().split("\n")[: len(texts)]
    if len(tokenised) != len(texts):
        raise RuntimeError(f"PTB tokenizer returned {len(tokenised)} lines for {len(texts)} texts")
    removed = set(ptbtokenizer.PUNCTUATIONS)
    return [" ".join(word for word in line.split() if word not in removed) for line in tokenised]


class CaptionScorer:
    """Scores captions against their references; keeps one METEOR process, whose start takes seconds.

    Args:
        java: the Java program; None means there is none, and the documented fallback is used.
    """

    def __init__(self, java: str | None):
        self.java = java
        self._meteor: Meteor | None = None
        self._failures: list[str] = []

    @property
    def tokenizer(self) -> str:
        """``"ptb"`` or ``"letters and digits (fallback)"``, for the protocol."""
        return "ptb" if self.java else "letters and digits (fallback)"

    def notes(self, images: int) -> list[str]:
        """What a reader of the numbers has to know, for a test set of so many images."""
        notes = list(self._failures)
        if not self.java:
            notes.append(FALLBACK_NOTE)
        if images < 2:
            notes.append(ONE_IMAGE_NOTE)
        return notes

    def tokenise(self, texts: Sequence[str]) -> list[str]:
        return ptb_tokens(texts, self.java) if self.java else [simple_tokens(text) for text in texts]

    def score(
        self, references: Sequence[Sequence[str]], answers: Sequence[str]
    ) -> tuple[dict[str, float], list[dict[str, float]]]:
        """Corpus scores and scores of each caption.

        Args:
            references: the true captions of each image, at least one.
            answers: one caption for each image.
        Returns:
            (metric -> value in percent, CIDEr x 100 as papers print it; per caption ``cider`` and ``rouge_l``).
        """
        flat = [text for texts in references for text in texts]
        tokens = self.tokenise([*flat, *answers])
        rest = iter(tokens)
        truth = {i: [next(rest) for _ in texts] for i, texts in enumerate(references)}
        given = {i: [next(rest)] for i in range(len(answers))}

        bleu, _ = Bleu(4).compute_score(truth, given, verbose=0)
        metrics = {f"BLEU-{n}": 100 * value for n, value in enumerate(bleu, start=1)}
        if self.java and not self._failures:
            metrics |= self._meteor_score(truth, given)
        rouge, rouge_each = Rouge().compute_score(truth, given)
        cider, cider_each = Cider().compute_score(truth, given)
        metrics |= {"ROUGE_L": 100 * float(rouge), "CIDEr": 100 * float(cider)}
        each = [
            {"cider": 100 * float(c), "rouge_l": 100 * float(r)} for c, r in zip(cider_each, rouge_each, strict=True)
        ]
        return metrics, each

    def _meteor_score(self, truth: dict[int, list[str]], given: dict[int, list[str]]) -> dict[str, float]:
        try:
            self._meteor = self._meteor or Meteor()
            return {"METEOR": 100 * self._meteor.compute_score(truth, given)[0]}
        except (OSError, ValueError) as error:  # the process died (it wants 2 GB): the other metrics are still good
            self._failures.append(f"METEOR is missing: its Java process failed ({error})")
            return {}


@lru_cache(maxsize=1)
def default_scorer() -> CaptionScorer:
    """The scorer of this machine, shared so that METEOR starts once."""
    return CaptionScorer(shutil.which("java"))
