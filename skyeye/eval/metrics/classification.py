"""Scene classification: the class that an answer names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

from skyeye.data.record import Record
from skyeye.eval.metrics.base import Scores, by_label, mean_of, percent
from skyeye.eval.metrics.synonyms import other_names
from skyeye.eval.metrics.words import compact, words
from skyeye.eval.results import Answer

#: The longest name has so many words.
_LONGEST = 6


def classification(records: Sequence[Record], answers: Sequence[Answer]) -> Scores:
    """The class that the answer names, among ``references['classes']``, against ``references['answer']``.

    Names are compared without case, spaces and marks (``BaseballField`` is "baseball field"), at word borders.
    An answer that names several classes is wrong. ``accuracy`` takes other names of a class, too
    (:mod:`skyeye.eval.metrics.synonyms`); ``accuracy (exact names)`` does not. ``balanced_accuracy`` is the mean over
    the classes that occur.
    """
    classes = [record.references["classes"] for record in records]
    truths = [record.references["answer"] for record in records]
    exact = [_is(classes_named(a.text, c, False), t) for a, c, t in zip(answers, classes, truths, strict=True)]
    named = [classes_named(answer.text, names) for answer, names in zip(answers, classes, strict=True)]
    hits = [_is(names, truth) for names, truth in zip(named, truths, strict=True)]
    by_class, counts = by_label("accuracy", truths, hits)
    items = [{"truth": t, "correct": h, "named": n} for t, h, n in zip(truths, hits, named, strict=True)]
    counts |= {
        "answers that name no class": sum(not names for names in named),
        "answers that name several": sum(len(names) > 1 for names in named),
    }
    statistics = {
        "accuracy": percent(hits),
        "accuracy (exact names)": percent(exact),
        "balanced_accuracy": mean_of(list(by_class.values()), len(records)),
    }
    return Scores(statistics | by_class, items, counts)


def classes_named(answer: str, classes: Sequence[str], synonyms: bool = True) -> list[str]:
    """The classes whose names stand in the text; a name inside a longer name ("residential") does not count.

    Other names count where no class stands under its own.
    """
    own, every = _tables(tuple(classes), synonyms)
    found = _longest_names(words(answer), every)
    return list(dict.fromkeys(own[x] for x in found if x in own)) or list(dict.fromkeys(every[x] for x in found))


@lru_cache(maxsize=64)
def _tables(classes: tuple[str, ...], synonyms: bool) -> tuple[dict[str, str], dict[str, str]]:
    """Compact name -> class: the classes themselves, and all names that count."""
    own = {compact(name): name for name in classes}
    return own, own | other_names(classes) if synonyms else own


def _longest_names(text: Sequence[str], names: Mapping[str, str]) -> list[str]:
    """The names in the text, in order, without those inside a longer one."""
    found, reach = [], 0
    for start in range(len(text)):
        # the longest first; one that reaches no further than a name before lies inside it
        for end in range(min(len(text), start + _LONGEST), max(start, reach), -1):
            if (name := "".join(text[start:end])) in names:
                found.append(name)
                reach = end
                break
    return found


def _is(names: Sequence[str], truth: str) -> bool:
    return [compact(x) for x in names] == [compact(truth)]
