"""Caption metrics by pycocoevalcap: BLEU-1..4, METEOR, ROUGE_L, CIDEr; SPICE is never constructed (it downloads).

BLEU and METEOR are formulas over sums of what is counted in each caption. ROUGE_L and CIDEr are means over captions.
CIDEr weighs words by how many images of the whole set use them, and these weights stay when images are drawn anew.

With Java: the PTB tokenizer of the coco-caption code and METEOR. Without Java: words are runs of letters and digits,
lower-cased (see :func:`simple_tokens`), there is no METEOR, and :attr:`CaptionScorer.notes` says both.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
from pycocoevalcap.bleu.bleu_scorer import BleuScorer
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.meteor.meteor import Meteor
from pycocoevalcap.rouge.rouge import Rouge
from pycocoevalcap.tokenizer import ptbtokenizer

from skyeye.data.record import Record
from skyeye.eval.metrics.base import Scores, Statistic, percent
from skyeye.eval.metrics.meteor import meteor
from skyeye.eval.metrics.normalise import normalise_answer
from skyeye.eval.results import Answer

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
    done = subprocess.run(command, cwd=folder, input=lines.encode(errors="replace"), capture_output=True, check=True)
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

    def score(self, references: Sequence[Sequence[str]], answers: Sequence[str]) -> dict[str, Statistic]:
        """The metrics in percent, CIDEr x 100 as papers print it.

        Args:
            references: the true captions of each image, at least one.
            answers: one caption for each image.
        """
        flat = [text for texts in references for text in texts]
        tokens = self.tokenise([*flat, *answers])
        rest = iter(tokens)
        truth = {i: [next(rest) for _ in texts] for i, texts in enumerate(references)}
        given = {i: [next(rest)] for i in range(len(answers))}

        statistics = bleu(truth, given)
        if self.java and not self._failures:
            statistics |= self._meteor_statistic(truth, given)
        _, rouge_each = Rouge().compute_score(truth, given)
        _, cider_each = Cider().compute_score(truth, given)
        return statistics | {"ROUGE_L": percent(rouge_each), "CIDEr": percent(cider_each)}

    def _meteor_statistic(self, truth: dict[int, list[str]], given: dict[int, list[str]]) -> dict[str, Statistic]:
        try:
            self._meteor = self._meteor or Meteor()
            return {"METEOR": meteor(self._meteor, truth, given)}
        except (OSError, ValueError) as error:  # the process died (it wants 2 GB): the other metrics are still good
            self._failures.append(f"METEOR is missing: its Java process failed ({error})")
            return {}


def bleu(truth: Mapping[int, list[str]], given: Mapping[int, list[str]], order: int = 4) -> dict[str, Statistic]:
    """BLEU-1..``order`` of tokenised captions, from the n-grams that the library counts in each.

    A row holds the n-grams of the caption that a reference has too, n = 1..order, clipped to how often one reference
    has them; all n-grams of the caption; its length; the length of the reference closest to it (the shorter of two).
    """
    scorer = BleuScorer(n=order)
    for i in truth:
        scorer += (given[i][0], truth[i])
    rows = [
        [*test["correct"], *test["guess"], test["testlen"], scorer._single_reflen(lengths, "closest", test["testlen"])]
        for test, (lengths, _) in zip(scorer.ctest, scorer.crefs, strict=True)
    ]
    counts = np.array(rows, float)
    return {f"BLEU-{n}": Statistic(counts, partial(_bleu_value, n=n, order=order)) for n in range(1, order + 1)}


def _bleu_value(sums: np.ndarray, n: int, order: int) -> np.ndarray:
    """The library's formula, with its small numbers against division by 0."""
    tiny, small = 1e-15, 1e-9
    precision = (sums[..., :n] + tiny) / (sums[..., order : order + n] + small)
    lengths = (sums[..., -2] + tiny) / (sums[..., -1] + small)
    brevity = np.exp(np.minimum(0, 1 - 1 / lengths))
    return 100 * precision.prod(axis=-1) ** (1 / n) * brevity


@lru_cache(maxsize=1)
def default_scorer() -> CaptionScorer:
    """The scorer of this machine, shared so that METEOR starts once."""
    return CaptionScorer(shutil.which("java"))


def captions(records: Sequence[Record], answers: Sequence[Answer]) -> Scores:
    """BLEU-1..4, METEOR, ROUGE_L, CIDEr against ``references['captions']``."""
    scorer = default_scorer()
    truths = [record.references["captions"] for record in records]
    if not truths:
        return Scores({}, [])
    statistics = scorer.score(truths, [answer.text for answer in answers])
    each = {key: 100 * statistics[name].rows[:, 0] for key, name in (("cider", "CIDEr"), ("rouge_l", "ROUGE_L"))}
    items = [
        {"truth": truth, "correct": None, **{key: float(values[i]) for key, values in each.items()}}
        for i, truth in enumerate(truths)
    ]
    return Scores(statistics, items, {}, scorer.notes(len(truths)))


def identify(records: Sequence[Record], answers: Sequence[Answer]) -> Scores:
    """Referring expression generation: caption metrics against ``references['captions']`` (the phrases that would do),
    and exact match with any of them after full normalisation."""
    scores = captions(records, answers)
    hits = [
        normalise_answer(answer.text) in {normalise_answer(phrase) for phrase in record.references["captions"]}
        for record, answer in zip(records, answers, strict=True)
    ]
    items = [{**item, "correct": hit} for item, hit in zip(scores.items, hits, strict=True)]
    return Scores({"exact_match": percent(hits), **scores.statistics}, items, scores.counts, scores.notes)
