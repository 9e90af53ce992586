"""Which record of a benchmark each prediction of a file answers. Nothing is guessed; all that is left over is listed.

The key of a prediction can name a record in three ways:

1. it is the id of the record (``test:1234``); this holds always;
2. it is the id in the published annotation (``1234``; ``imgid`` of caption files), which some readers keep as
   ``references["published_id"]``. The number of a line is no such id;
3. the image of the prediction (or, where it gives none, the key) is the file name of the record's image, with or
   without its extension; folders in front do not matter.

The keys that are no ids of records are all read in the same way, (2) or (3): the one by which most of them name exactly
one record; (3) only when it names as many keys as (1) does. In a file without ids (COCO caption results) the key is
called an image; (1) is asked after (3) then, and (2) only of captions, where the published id is that of an image.

A key is **unknown** when it then names no record, or several, or when the image beside it is that of another record of
the benchmark, or when (2) and (3) would serve the file equally well and name different records. A record that several
predictions name, in the same way or not, is **repeated** when these say the same: that counts once (a file to which a
second run was appended). It is **double** when they do not: none of them counts, because nothing says which is meant.
A record that no prediction names is **missing**.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from skyeye.data.formats.base.image_folder import ABSENT
from skyeye.data.images.reference import MEMBER, parse_reference
from skyeye.data.record import Record
from skyeye.eval.answers.read import Prediction


@dataclass(frozen=True)
class Matched:
    """The predictions of a file beside the records of a benchmark.

    Attributes:
        answers: one for each record, in their order; None for missing and double ones.
        unknown: keys that name no record, each once, in the order of the file.
        missing: records without a prediction, named as the file names records.
        double: records with several answers, named likewise.
        repeated: records whose one answer stands in several predictions, named likewise; it counts.
        reasons: for an unknown key that is not simply absent, or a double or repeated record, what is wrong with it.
        way: how the keys of the file name records, in words.
    """

    answers: list[str | None]
    unknown: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    double: list[str] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)
    reasons: dict[str, str] = field(default_factory=dict)
    way: str = ""


#: What is compared without it: ``31.tif`` may be another's copy of ``31.png``, and is not one of ``32.png``.
_EXTENSION = re.compile(r"\.[A-Za-z][A-Za-z0-9]{1,4}$")

#: Name in a prediction -> indices of the records that it means.
_Names = dict[str, list[int]]


@dataclass(frozen=True)
class _Way:
    """One way of naming records."""

    words: str
    names: _Names
    name_of: Callable[[Prediction], str]
    called: Sequence[str]  # each record in this way

    def records(self, prediction: Prediction) -> list[int]:
        return self.names.get(self.name_of(prediction), [])

    def count(self, predictions: Sequence[Prediction]) -> int:
        """How many of the predictions name exactly one record."""
        return sum(len(self.records(prediction)) == 1 for prediction in predictions)


def match(predictions: Sequence[Prediction], records: Sequence[Record]) -> Matched:
    """Join predictions with records; see the head of this module for the rules."""
    images = _image_names(records)
    ids = [record.id for record in records]
    published = [record.references.get("published_id", "") for record in records]
    by_id = _Way("the id of the record", _names((id,) for id in ids), lambda p: p.key, ids)
    by_published = _Way(
        "the id in the published annotation",
        _names((id,) if id else () for id in published),
        lambda p: p.key,
        _told(published, ids),
    )
    shown = _told(_shown(images, predictions), ids)
    by_image = _Way("the name of the image", _names(images), _image_of, shown)

    keys = _each_key(predictions)
    without_ids = bool(keys) and all(p.image == p.key for p in keys)
    exact = {p.key for p in keys if _is_id(p, by_id, by_image, without_ids)}
    rest = [p for p in keys if p.key not in exact]
    if without_ids:
        ways = [by_image, by_published] if all(record.task == "caption" for record in records) else [by_image]
    else:
        ways = [by_published, by_image] if by_image.count(keys) >= len(exact) else [by_published]
    way = max(ways, key=lambda way: way.count(rest))  # the first of equal ones
    if way.count(rest) == 0:
        way = by_id
    rivals = [w for w in ways if w is not way and w.count(rest) == way.count(rest)]

    by_record: dict[int, list[Prediction]] = defaultdict(list)
    reasons: dict[str, str] = {}
    unknown: dict[str, None] = {}
    for prediction in predictions:
        is_id = prediction.key in exact
        found = (by_id if is_id else way).records(prediction)
        reason = _doubt(prediction, found, records, by_image, [] if is_id else rivals)
        if found and reason is None:
            by_record[found[0]].append(prediction)
            continue
        unknown[prediction.key] = None
        if reason is not None:
            reasons[prediction.key] = reason
    matched = Matched([None] * len(records), list(unknown), reasons=reasons, way=_in_words(by_id, way, bool(exact)))
    for index, name in enumerate(way.called):
        _answer(matched, index, name, by_record.get(index, []))
    return matched


def _answer(matched: Matched, index: int, name: str, given: Sequence[Prediction]) -> None:
    """Enter what the predictions say of the record ``index``, which is called ``name``."""
    said = {prediction.answer for prediction in given}
    if len(said) == 1:
        matched.answers[index] = given[0].answer
    if len(given) > 1:
        (matched.repeated if len(said) == 1 else matched.double).append(name)
        same = "the same answer" if len(said) == 1 else "different answers"
        matched.reasons[name] = f"{len(given)} predictions, {same}: {_places(given)}"
    elif not given:
        matched.missing.append(name)


def _in_words(by_id: _Way, way: _Way, some_are_ids: bool) -> str:
    return " or ".join(dict.fromkeys([by_id.words, way.words] if some_are_ids else [way.words]))


def _is_id(prediction: Prediction, by_id: _Way, by_image: _Way, without_ids: bool) -> bool:
    """Whether a key is taken for the id of a record; one that the file calls an image must not name another by it."""
    own = by_id.records(prediction)
    return bool(own) and (not without_ids or by_image.records(prediction) in ([], own))


def _doubt(
    prediction: Prediction, found: list[int], records: Sequence[Record], by_image: _Way, rivals: Sequence[_Way]
) -> str | None:
    """Why a prediction that names something is not taken; None when it names nothing, or nothing is wrong."""
    if len(found) > 1:
        return f"names {len(found)} records: {_ids(found, records)}"
    if not found:
        return None
    for rival in rivals:
        other = rival.records(prediction)
        if len(other) == 1 and other != found:
            return f"names {records[found[0]].id}, and by {rival.words} {records[other[0]].id}"
    if prediction.image is not None and prediction.image != prediction.key:
        shown = by_image.records(prediction) or by_image.names.get(_EXTENSION.sub("", _image_of(prediction)), [])
        own = records[found[0]]
        is_own = own.task == "caption" and prediction.image == own.references.get("published_id")
        if shown and found[0] not in shown and not is_own:
            return f"names {records[found[0]].id}, but its image {prediction.image} is that of {_ids(shown, records)}"
    return None


def _each_key(predictions: Sequence[Prediction]) -> list[Prediction]:
    return list({prediction.key: prediction for prediction in predictions}.values())


def _names(names_of_records: Iterable[Sequence[str]]) -> _Names:
    """Name -> the records that have it; ``names_of_records`` gives those of each record."""
    names: _Names = defaultdict(list)
    for index, own in enumerate(names_of_records):
        for name in dict.fromkeys(own):
            names[name].append(index)
    return dict(names)


def _image_names(records: Sequence[Record]) -> list[tuple[str, ...]]:
    """For each record the file name of its image and its stem; nothing for several images or a member of a shard."""
    names = []
    for record in records:
        paths = {parse_reference(image)[0] for image in record.images}
        name = _file_name(paths.pop().removeprefix(ABSENT)) if len(paths) == 1 else ""
        in_shard = any(parse_reference(image)[1].keys() & MEMBER for image in record.images)
        names.append(() if in_shard or not name else (name, name.rpartition(".")[0] or name))
    return names


def _image_of(prediction: Prediction) -> str:
    return _file_name(prediction.image or prediction.key)


def _shown(images: Sequence[tuple[str, ...]], predictions: Sequence[Prediction]) -> list[str]:
    """The image of each record, with the extension if some prediction of the file has it; ``""`` where it has none."""
    given = {_image_of(prediction) for prediction in predictions}
    which = 0 if any(names and names[0] in given for names in images) else 1
    return [names[which] if names else "" for names in images]


def _told(names: Sequence[str], ids: Sequence[str]) -> list[str]:
    """What the records are called in a report: their names, or their ids where a name is missing or of several."""
    return list(names if all(names) and len(set(names)) == len(names) else ids)


def _file_name(path: str) -> str:
    return path.replace("\\", "/").rpartition("/")[2]  # pathlib takes ten times as long


def _ids(indices: Sequence[int], records: Sequence[Record]) -> str:
    shown = ", ".join(records[index].id for index in indices[:3])
    return shown + (f" and {len(indices) - 3} more" if len(indices) > 3 else "")


def _places(predictions: Sequence[Prediction]) -> str:
    shown = "; ".join(prediction.where for prediction in predictions[:3])
    return shown + (f"; and {len(predictions) - 3} more" if len(predictions) > 3 else "")
