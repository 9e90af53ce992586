"""Answers that another program wrote: read from its file, with everything in it that cannot be used told by line.

A prediction is an id and an answer. The file is recognised by what it holds:

=================== ==================================================================================================
one object a line   ``{"id": "test:12", "answer": "yes"}`` (also what ``skyeye eval`` writes)
                    LLaVA (llava/eval/model_vqa.py): ``question_id``, ``prompt``, ``text``, ``answer_id``, ...
                    GeoChat (geochat/eval/batch_geochat_{vqa,scene,grounding,referring}.py): ``question_id``,
                    ``image_id``, ``answer``, and according to the task ``ground_truth``, ``question``, ``type``, ...
one list            of such objects; COCO caption results ``[{"image_id": 12, "caption": "a ship"}]``; MiniGPT-v2
                    (eval_scripts/eval_vqa.py of Vision-CAIR/MiniGPT-4) for OKVQA: ``[{"answer", "question_id"}]``
one object          id -> answer. MiniGPT-v2 for RefCOCO (eval_scripts/eval_ref.py): image id -> list of answers; where
                    an image has several, nothing says to which question each belongs, and they are not used
=================== ==================================================================================================

MiniGPT-v2's files for GQA, VSR and hateful memes (``pred``, ``gt``) and VizWiz (``answer``) hold no id; they cannot be
scored. Which record an id names is decided in :mod:`skyeye.eval.answers.match`.
"""

from __future__ import annotations

import json
import math
import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skyeye.data.file_kind import HEAD, describe_content
from skyeye.data.formats.base.encoding import decode, encoding_of
from skyeye.data.formats.base.json_lines import iter_json_lines
from skyeye.data.formats.base.json_lists import iter_json_list
from skyeye.data.formats.base.problems import BadRecord, Problem
from skyeye.errors import SkyEyeError
from skyeye.eval.answers.output_format import without_output_format

LARGEST = 4 << 30  # bytes of a file; 625 thousand answers to RSVQA-HR have less than a hundredth
LARGEST_OBJECT = 1 << 28  # bytes of a file that is one object: it has to be read as a whole
LONGEST_ID = 4096  # characters
LONGEST_ANSWER = 1 << 14  # characters; 256 tokens have about a thousand, and METEOR dies of 20,000 words
WAYS_TO_WRITE = 'write one object per line: {"id": "...", "answer": "..."}'

# Names of keys, in lower case and without strokes: ``question_id``, ``questionId`` and ``Question-ID`` are one.
_IDS = frozenset("id questionid qid sampleid recordid uid".split())
_IMAGES = "image images imagepath imgpath imagefile imagename imgname filename img imageid imgid".split()
_ANSWERS = frozenset(
    "answer text prediction pred predict predictedanswer predanswer modelanswer modelresponse modeloutput output"
    " outputs generatedtext generation caption response".split()
)
#: ``answer`` may be the truth when one of these is the prediction: text under such a name is an answer as well.
_SOUNDS_LIKE_AN_ANSWER = re.compile("pred|output|response|resps|generat|hypothes|modelanswer")
_HEAD = 1 << 16
_TABLE = re.compile(r"\s*[^\s{\[,;\t][^\n]*?[,;\t]")


@dataclass(frozen=True)
class Prediction:
    """One answer of a file.

    Attributes:
        key: the id it stands under, as text: ``12`` and ``"12"`` are the same. Without an id, the image.
        answer: as written, without the traces of an output format; may be empty.
        where: file and line, element or key.
        image: the name of the image, where the file gives one.
        keys: the names under which id and answer stood; ``id`` and ``answer`` in a file that is one object.
        traces: what was taken off the answer (:mod:`skyeye.eval.answers.output_format`).
    """

    key: str
    answer: str
    where: str
    image: str | None = None
    keys: tuple[str, str] = ("id", "answer")
    traces: tuple[str, ...] = ()


class _Object(list):
    """The (key, value) pairs of a JSON object: a key that stands there twice stays visible."""


_DECODER = json.JSONDecoder(object_pairs_hook=_Object)


def read_predictions(path: str | Path, answer_key: str | None = None) -> tuple[list[Prediction], list[Problem]]:
    """The predictions of a file in their order, and a problem for everything in it that is none.

    Of a line, exactly one id and one answer is accepted: under known names, whatever these are in other lines. A list
    of several answers is a problem. Where one line holds different answers under two names, one may be the truth, and
    the file is refused: its other lines would be taken exactly where both agree.

    Args:
        answer_key: the name under which the answers stand, and no other.

    Raises:
        SkyEyeError: missing, unreadable, empty, too large, in another format, with two answers in a line, or without a
            single prediction.
    """
    path = Path(path)
    _check_size(path)
    predictions: list[Prediction] = []
    problems: list[Problem] = []
    for where, found in _entries(path):
        try:
            predictions.append(_prediction(found, where, answer_key))
        except BadRecord as error:
            problems.append(error.problem())
    if not predictions:
        if _TABLE.match(_head(path)):
            remedy = f"the file looks like a table (CSV): {WAYS_TO_WRITE}"
            raise SkyEyeError("holds no prediction in JSON", where=str(path), remedy=remedy)
        what = f"holds no prediction; the first problem: {problems[0]}" if problems else "holds no prediction"
        raise SkyEyeError(what, where=str(path), remedy=WAYS_TO_WRITE)
    return predictions, problems


def _check_size(path: Path) -> None:
    try:
        if not path.is_file():  # a pipe or a device may never end
            raise SkyEyeError("is no file", where=str(path), remedy="give the file of predictions")
        size = path.stat().st_size
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise SkyEyeError(f"cannot be read: {error}", where=str(path), remedy="give the file of predictions") from error
    if size > LARGEST:
        raise SkyEyeError(
            f"has {size} bytes, more than {LARGEST}", where=str(path), remedy="is this a file of predictions?"
        )


def _entries(path: Path) -> Iterator[tuple[str, Any]]:
    """(place, JSON value that should be a prediction, or what is wrong) of everything in the file."""
    head = _head(path)
    if re.match(r"\s*\[\s*\{", head):
        return _of_list(path)
    whole = _whole_object(path) if head.lstrip().startswith("{") else None
    if whole is None:
        return iter_json_lines(path)
    if any(_name(key) in _IDS or _name(key) in _ANSWERS for key, _ in whole):  # the one prediction of the file
        return iter([(f"{path}, line 1", whole)])
    return ((f"{path}, key {key[:80]!r}", _Object([("id", key), ("answer", value)])) for key, value in whole)


def _head(path: Path) -> str:
    """The beginning of the file, decoded as it announces itself.

    Raises:
        SkyEyeError: it cannot be read, or is something else than text.
    """
    try:
        with path.open("rb") as file:
            start = file.read(_HEAD)
    except OSError as error:
        raise SkyEyeError(f"cannot be read: {error}", where=str(path), remedy="check who may read it") from error
    known = describe_content(start[:HEAD])
    if known is not None and known[0] not in ("text", "JSON"):
        raise SkyEyeError(f"is {known[0]}", where=str(path), remedy=f"{known[1]}; {WAYS_TO_WRITE}")
    if re.match(rb"[\[{]\0|\0[\[{]", start):
        remedy = f"write it in UTF-8: iconv -f UTF-16 -t UTF-8 {shlex.quote(str(path))} > utf8.json"
        raise SkyEyeError("is UTF-16 text that does not say so", where=str(path), remedy=remedy)
    return start.decode(encoding_of(start), "ignore")


def _of_list(path: Path) -> Iterator[tuple[str, Any]]:
    number = 0
    try:
        for number, element in enumerate(iter_json_list(path, _DECODER), start=1):
            yield f"{path}, element {number}", element
    except SkyEyeError as error:
        where = f"{error.where}, behind element {number}"
        yield where, BadRecord("not JSON", where, f"{error.what}; the file was read up to here")


def _whole_object(path: Path) -> _Object | None:
    """The one object that a file is; None when it is something else, or too large to tell."""
    if path.stat().st_size > LARGEST_OBJECT:
        return None
    try:
        whole = _DECODER.decode(decode(path.read_bytes(), str(path)))
    except (
        ValueError,
        RecursionError,
        SkyEyeError,
    ):  # not one JSON value, or not UTF-8: read by lines, where this is told
        return None
    return whole if isinstance(whole, _Object) else None


def _prediction(found: Any, where: str, answer_key: str | None) -> Prediction:
    """
    Raises:
        BadRecord: no id, no answer, or several ids.
        SkyEyeError: several answers.
    """
    if isinstance(found, BadRecord):
        raise found
    if isinstance(found, dict):
        found = _Object(found.items())
    if not isinstance(found, _Object):
        raise BadRecord("not a record", where, f"is not an object {{...}} but {_shown(found)}")
    named = [(_name(key), key, value) for key, value in found]
    image_key, image = _image(named, where)
    ids = [(key, _id(value, where)) for name, key, value in named if name in _IDS and value is not None]
    if len({id for _, id in ids}) > 1:
        names = _listed(key for key, _ in ids)
        raise BadRecord("two ids", where, f"has different ids under {names}: which of them is meant?")
    key = ids[0][1] if ids else image
    if key is None:
        raise BadRecord("no id", where, f"has no id; its keys are {_listed(key for key, _ in found)}")
    said, text = _answer(named, where, answer_key)
    plain, traces = without_output_format(text)
    return Prediction(key, plain, where, image, (ids[0][0] if ids else image_key, said), traces)


def _answer(named: Sequence[tuple[str, str, Any]], where: str, answer_key: str | None) -> tuple[str, str]:
    """The key of the answer, and its text."""
    if answer_key is None:
        given = [(key, value) for name, key, value in named if name in _ANSWERS or _may_be_answer(name, value)]
        wanted = "answer"
    else:
        given = [(key, value) for name, key, value in named if name == _name(answer_key)]
        wanted = repr(answer_key[:40])
    if not given:
        raise BadRecord("no answer", where, f"has no {wanted}; its keys are {_listed(key for _, key, _ in named)}")
    answers = [(key, _answer_text(key, value, where)) for key, value in given]
    if any(text != answers[0][1] for _, text in answers):
        names = _listed(dict.fromkeys(key for key, _ in answers))
        if len({_name(key) for key, _ in answers}) == 1:
            raise BadRecord("two answers", where, f"has different answers under {names}: which of them is meant?")
        raise SkyEyeError(
            f"has different answers under {names}; one of them may be the truth",
            where=where,
            remedy="keep only the model's answer, or name its key: `skyeye eval score --answer-key NAME`",
        )
    key, text = answers[0]
    if text is None:
        raise BadRecord("no answer", where, f"{key!r} is null")
    return key, text


def _answer_text(key: str, value: Any, where: str) -> str | None:
    """The text of an answer; None for null."""
    if isinstance(value, list) and not isinstance(value, _Object):
        if len(value) != 1:
            raise BadRecord("no single answer", where, f"{key!r} is a list of {len(value)}; one answer is needed")
        value = value[0]
    if value is None:
        return None
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        value = str(value)
    if not isinstance(value, str):
        raise BadRecord("answer not text", where, f"{key!r} is {_shown(value)}, neither text nor a number")
    if len(value) > LONGEST_ANSWER:
        raise BadRecord("answer too long", where, f"{key!r} has {len(value)} characters, more than {LONGEST_ANSWER}")
    return _sound(value, where)


def _may_be_answer(name: str, value: Any) -> bool:
    if not _SOUNDS_LIKE_AN_ANSWER.search(name):
        return False
    return (
        value is None or isinstance(value, str) or (isinstance(value, list) and all(isinstance(v, str) for v in value))
    )


def _id(value: Any, where: str) -> str:
    text = _as_id(value)
    if not text:
        raise BadRecord("no id", where, f"the id is {_shown(value)}, neither a whole number nor text")
    if len(text) > LONGEST_ID:
        raise BadRecord("no id", where, f"the id has {len(text)} characters, more than {LONGEST_ID}")
    return _sound(text, where)


def _image(named: Sequence[tuple[str, str, Any]], where: str) -> tuple[str, str | None]:
    """Key and name of the image; None where there is none or several, or it is something else (its bytes, say)."""
    values = {name: (key, value) for name, key, value in reversed(named) if name in _IMAGES}
    for name in sorted(values, key=_IMAGES.index):
        key, value = values[name]
        text = _as_id(value[0] if isinstance(value, list) and len(value) == 1 else value)
        if text and len(text) <= LONGEST_ID:
            return key, _sound(text, where)
    return "", None


def _as_id(value: Any) -> str | None:
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:  # pandas writes 12.0
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value.strip() if isinstance(value, str) else None


def _sound(text: str, where: str) -> str:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        what = "the text holds half of a character (a lone surrogate), which no file can hold"
        raise BadRecord("not text", where, what) from error
    return text


def _name(key: str) -> str:
    return re.sub(r"[\s_-]", "", key[:80]).lower()


def _listed(keys: Iterable[str]) -> str:
    """Names for a message: the first six."""
    names = [repr(key[:40]) for key in keys]
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "") if names else "none"


def _shown(value: Any) -> str:
    """A JSON value in a message; what is nested may be too deep to be written out."""
    if isinstance(value, list):
        return "an object" if isinstance(value, _Object) else "a list"
    return "an object" if isinstance(value, dict) else json.dumps(value)[:60]
