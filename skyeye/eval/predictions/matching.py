"""Which record of a benchmark each prediction of a file answers. Nothing is guessed; all that is left over is listed.

The key of a prediction can name a record in three ways:

1. it is the id of the record (``test:1234``);
2. it is the part of the id behind the last ``:`` (``1234``), the id in the published annotation;
3. the image of the prediction (or, where it gives none, the key) is the file name of the record's image, with or
   without its extension; folders in front do not matter.

All keys of a file are read in the same way: the one by which most keys name exactly one record, the earlier where two
are equal; in a file without ids (COCO caption results) the image is asked first. A key is **unknown** when it then
names no record, or several, or when the image beside it is that of another record of the benchmark, or when (2) and (3)
would serve the file equally well and name different records. A record is **double** when two predictions name it; none
of them counts, even when they are equal: a file that says something twice was not made as its author believes. A record
that no prediction names is **missing**.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from skyeye.data.formats.images import ABSENT
from skyeye.data.record import Record
from skyeye.data.reference import parse_reference
from skyeye.eval.predictions.files import Prediction


@dataclass(frozen=True)
class Matched:
    """The predictions of a file beside the records of a benchmark.

    Attributes:
        answers: one for each record, in their order; None for missing and double ones.
        unknown: keys that name no record, each once, in the order of the file.
        missing: records without a prediction, named as the file names records.
        double: records with several predictions, named likewise.
        reasons: for an unknown key that is not simply absent, or a double record, what is wrong with it.
        way: how the keys of the file name records, in words.
    """

    answers: list[str | None]
    unknown: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    double: list[str] = field(default_factory=list)
    reasons: dict[str, str] = field(default_factory=dict)
    way: str = ""


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


def match(predictions: Sequence[Prediction], records: Sequence[Record]) -> Matched:
    """Join predictions with records; see the head of this module for the rules."""
    images = _image_names(records)
    ids = [record.id for record in records]
    ends = [id.rpartition(":")[2] for id in ids]
    by_id = _Way("the id of the record", _names((id,) for id in ids), lambda p: p.key, ids)
    by_end = _Way(
        "the part of the record's id behind the last ':'", _names((x,) for x in ends), lambda p: p.key, _told(ends, ids)
    )
    shown = _told(_shown(images, predictions), ids)
    by_image = _Way("the name of the image", _names(images), _image_of, shown)
    without_ids = bool(predictions) and all(p.image == p.key for p in predictions)
    ways = [by_image, by_id, by_end] if without_ids else [by_id, by_end, by_image]
    named = {way.words: sum(len(way.records(p)) == 1 for p in _each_key(predictions)) for way in ways}
    way = max(ways, key=lambda way: named[way.words])  # the first of equal ones
    rivals = []  # the id itself leaves no doubt, nor does an image that the file calls one
    if way is not by_id and not without_ids:
        rivals = [w for w in (by_end, by_image) if w is not way and named[w.words] == named[way.words]]

    by_record: dict[int, list[Prediction]] = defaultdict(list)
    reasons: dict[str, str] = {}
    unknown: dict[str, None] = {}
    for prediction in predictions:
        found = way.records(prediction)
        reason = _doubt(prediction, found, records, by_image, rivals)
        if found and reason is None:
            by_record[found[0]].append(prediction)
            continue
        unknown[prediction.key] = None
        if reason is not None:
            reasons[prediction.key] = reason
    answers: list[str | None] = [None] * len(records)
    missing, double = [], []
    for index, name in enumerate(way.called):
        match by_record.get(index, []):
            case []:
                missing.append(name)
            case [only]:
                answers[index] = only.answer
            case several:
                double.append(name)
                same = "the same" if len({p.answer for p in several}) == 1 else "different"
                reasons[name] = f"{len(several)} predictions, {same} answers: {_places(several)}"
    return Matched(answers, list(unknown), missing, double, reasons, way.words)


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
        shown = by_image.records(prediction)
        if shown and found[0] not in shown:
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
        in_shard = any("offset" in parse_reference(image)[1] for image in record.images)
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
