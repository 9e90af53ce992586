"""A score near zero, or one answer to everything, looked into: what the answers look like beside what was expected.

A model that learnt nothing is rare; answers in another form than the metric reads are not. No score is changed here.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from skyeye.data.record import Record
from skyeye.eval.benchmarks import Benchmark
from skyeye.eval.box_detective import detect
from skyeye.eval.metrics import Scores
from skyeye.eval.metrics.normalise import normalise_answer
from skyeye.eval.report.to_text import on_a_line
from skyeye.eval.results import Answer

FEWEST = 50  # answers of which something can be said
NEAR_ZERO = 5.0  # of the main metric, in its unit
_MOST = 0.8  # of the answers: "they"
_ONE = 0.9  # of the answers: "all the same"
_SHOWN = 60  # characters of an example


def near_zero(
    benchmark: Benchmark, records: Sequence[Record], given: Sequence[Answer | None], scores: Scores
) -> list[str]:
    """Sentences about answers that seem to mean something else than they are scored as; none where nothing is odd.

    Args:
        given: one for each record; None where there is none.
    """
    answers = {i: answer.text.strip() for i, answer in enumerate(given) if answer is not None}
    said = [i for i, text in answers.items() if text]
    value = scores.metrics.get(benchmark.main_metric)
    if len(answers) < FEWEST or value is None or benchmark.output == "embedding":
        return []
    if len(said) < (1 - _ONE) * len(answers):
        return [f"{len(answers) - len(said):,} of {len(answers):,} answers are empty"]
    if len(said) < FEWEST:
        return []
    texts = [answers[i] for i in said]
    truths = [_truth(scores.items[i]) for i in said]
    told = _one_answer(texts, truths)
    if value >= NEAR_ZERO:
        return told
    if benchmark.output == "boxes":
        told += _other_frame([records[i] for i in said], texts)
    else:
        told += _shape(texts, truths) if not told else []
        told += _shifted(texts, truths)
    place = said[len(said) // 2]
    example = f"{_shown(answers[place])} where {_shown(_truth(scores.items[place]))} is expected"
    lead = f"{benchmark.main_metric} {value:.1f} over {len(said):,} answers is near zero"
    return [f"{lead}: {'; '.join(told)}{'; ' if told else ''}{records[place].id} is answered {example}"]


def _other_frame(records: Sequence[Record], texts: Sequence[str]) -> list[str]:
    """What the detective makes of boxes that do not fit as they are read now."""
    verdict = detect(records, texts)
    if verdict.frame is None:
        return [str(verdict)]
    return [f"boxes look like {verdict.frame}: score it with --boxes auto"]


def _truth(item: Mapping[str, Any]) -> str:
    truth = item["truth"]
    first = truth[0] if isinstance(truth, list) and truth and isinstance(truth[0], str) else truth
    return str(first)


def _one_answer(texts: Sequence[str], truths: Sequence[str]) -> list[str]:
    """That all answers are the same where the truths are not."""
    text, count = Counter(map(normalise_answer, texts)).most_common(1)[0]
    alike = Counter(map(normalise_answer, truths))
    if count < _ONE * len(texts) or alike.most_common(1)[0][1] >= _ONE * len(texts):
        return []
    how_many = "all" if count == len(texts) else f"{count:,} of {len(texts):,}"
    example = next(original for original in texts if normalise_answer(original) == text)
    return [f"{how_many} answers are {_shown(example)}, and {len(alike):,} different ones are expected"]


def _shape(texts: Sequence[str], truths: Sequence[str]) -> list[str]:
    """Beginnings, ends, lengths and letters that the answers have in common and the truths have not."""
    told = []
    for where, cut in (("begin", _head), ("end", _tail)):
        if common := _common(texts, truths, cut):
            count = sum(cut(text, len(common)) == common for text in texts)
            how_many = "all" if count == len(texts) else f"{count:,} of {len(texts):,}"
            told.append(f"{how_many} answers {where} with {_shown(common)}")
    words, wanted = (statistics.median(len(text.split()) for text in of) for of in (texts, truths))
    if words >= 3 * wanted + 3 or wanted >= 3 * words + 3:
        told.append(f"answers have {words:.0f} words (median), the expected ones {wanted:.0f}")
    letters = [bare for text in texts if len(bare := text.strip(" .():")) == 1 and bare.isalpha()]
    if len(letters) >= _MOST * len(texts) and statistics.median(map(len, truths)) > 1:
        told.append(f"answers are single letters ({', '.join(sorted(set(letters))[:4])}), as of multiple choice")
    other = [text for text in texts if not text.isascii()]
    if len(other) >= _MOST * len(texts) and sum(truth.isascii() for truth in truths) >= _MOST * len(truths):
        told.append("answers are in other letters than what is expected: another language, or another encoding")
    return told


def _common(texts: Sequence[str], truths: Sequence[str], cut: Callable[[str, int], str]) -> str:
    """The longest piece at one end that most of the answers share, and most of the truths do not have there."""
    longest = ""
    for length in range(3, 41):
        pieces = Counter(cut(text, length) for text in texts if len(text) > length).most_common(1)
        if not pieces or pieces[0][1] < _MOST * len(texts):
            break
        if sum(cut(truth, length) == pieces[0][0] for truth in truths) <= len(truths) / 2:
            longest = pieces[0][0]
    return longest


def _shifted(texts: Sequence[str], truths: Sequence[str]) -> list[str]:
    """That the answers fit the records one before or behind: lines that slipped, or ids that count from 1."""
    plain, wanted = [normalise_answer(text) for text in texts], [normalise_answer(truth) for truth in truths]
    for by, where in ((1, "before"), (-1, "behind")):
        pairs = zip(plain[by:], wanted, strict=False) if by > 0 else zip(plain, wanted[-by:], strict=False)
        share = sum(a == b for a, b in pairs) / len(texts)
        if share > 0.5 and len(set(wanted)) > 1:
            return [f"{share:.0%} of the answers are those of the record {where} them: do lines or ids count from 1?"]
    return []


def _head(text: str, length: int) -> str:
    return text[:length]


def _tail(text: str, length: int) -> str:
    return text[-length:]


def _shown(text: str) -> str:
    return f"'{on_a_line(text.strip(), _SHOWN)}'"
