"""Prediction files of several programs, sound and damaged: what is read from them, and what is told."""

import gzip
import json
import os
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyeye.errors import SkyEyeError
from skyeye.eval.answers import read, read_predictions

GEOCHAT = {
    "question_id": 7,
    "image_id": "P0003",
    "answer": "{<1><2><3><4>|<30>}",
    "ground_truth": [[[1, 2], [3, 4]]],
    "question": "the plane",
    "type": "ref",
    "dataset": "DOTA",
    "obj_ids": [3],
    "size_group": "small",
}
LLAVA = {"question_id": 7, "prompt": "how many?", "text": "two", "answer_id": "Xy", "model_id": "llava", "metadata": {}}
OURS = {"id": "test:7", "images": ["d/7.png"], "question": "how many?", "answer": "2", "truth": "2", "correct": True}


def write(folder, content, name="p.json"):
    if not isinstance(content, (str, bytes)):
        content = json.dumps(content)
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    return path


def told(predictions):
    return [(p.key, p.answer, p.image) for p in predictions]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('{"id": "a", "answer": "yes"}\n{"id": 2, "answer": ""}\n', [("a", "yes", None), ("2", "", None)]),
        ('{"id": "a", "answer": "yes"}', [("a", "yes", None)]),
        ('\ufeff{"id": "a", "answer": "x"}\r\n\r\n{"id": "b", "answer": "y"}', [("a", "x", None), ("b", "y", None)]),
        (json.dumps(OURS) + "\n" + json.dumps(LLAVA), [("test:7", "2", "d/7.png"), ("7", "two", None)]),
        (json.dumps(GEOCHAT), [("7", "{<1><2><3><4>|<30>}", "P0003")]),
        (json.dumps(GEOCHAT, indent=2), [("7", "{<1><2><3><4>|<30>}", "P0003")]),
        (
            '{"question_id": "airport/a_1.jpg", "image_id": "airport/a_1.jpg", "answer": "airport"}',
            [("airport/a_1.jpg", "airport", "airport/a_1.jpg")],
        ),
        # COCO caption results, MiniGPT-v2 for OKVQA, the same as one list with a byte order mark
        ([{"image_id": 12, "caption": "a ship"}], [("12", "a ship", "12")]),
        ([{"answer": "two", "question_id": 3}], [("3", "two", None)]),
        ("\ufeff [\n {\"id\": 1, \"pred\": \"x\"} ]", [("1", "x", None)]),
        # MiniGPT-v2 for RefCOCO; a plain object of ids
        ({"00012.jpg": ["{<1><2><3><4>}"], "13": ["x"]}, [("00012.jpg", "{<1><2><3><4>}", None), ("13", "x", None)]),
        ({"12": "yes"}, [("12", "yes", None)]),
        ('\ufeff{"12": "yes"}', [("12", "yes", None)]),
        ('{"12": "yes",\n "13": "no"\n}', [("12", "yes", None), ("13", "no", None)]),
        # names of keys
        ('{"questionId": 1, "Response": "x"}', [("1", "x", None)]),
        ('{"qid": 1.0, "prediction": ["x"]}', [("1", "x", None)]),
        ('{"id": null, "file_name": "a.jpg", "image_id": 3, "output": "x"}', [("a.jpg", "x", "a.jpg")]),
        ('{"id": " 1 ", "question_id": 1, "answer": "x", "pred": "x"}', [("1", "x", None)]),
        ('{"id": 1, "images": ["a", "b"], "answer": "x", "output_len": 3, "pred_boxes": [[1]]}', [("1", "x", None)]),
        ('{"id": 1, "answer": "a\u2028b"}\n', [("1", "a\u2028b", None)]),
        # numbers
        ('{"id": 1, "answer": 115}\n{"id": 2, "answer": [-1.5]}', [("1", "115", None), ("2", "-1.5", None)]),
        ([{"id": 1, "answer": 0}, {"id": 2, "pred": 3}], [("1", "0", None), ("2", "3", None)]),
        ({"12": 7}, [("12", "7", None)]),
    ],
)  # fmt: skip
def test_files_of_many_programs(tmp_path, content, expected):
    predictions, problems = read_predictions(write(tmp_path, content))
    assert problems == [] and told(predictions) == expected


SOUND = '{"id": "sound", "answer": "yes"}'


@pytest.mark.parametrize(
    ("line", "kind", "words"),
    [
        ("yes", "not JSON", "not valid JSON"),
        ('{"id": 1, "answer": "ye', "not JSON", "not valid JSON"),
        ('{"id": 1, "answer": "x"} {}', "not JSON", "Extra data"),
        ("[1, 2]", "not a record", ""),
        ('"yes"', "not a record", ""),
        ("null", "not a record", ""),
        ("{}", "no id", "its keys are none"),
        ('{"answer": "x"}', "no id", "'answer'"),
        ('{"pred": "yes", "gt": "yes"}', "no id", "'pred', 'gt'"),
        ('{"id": true, "answer": "x"}', "no id", "is true, neither"),
        ('{"id": 1.5, "answer": "x"}', "no id", "is 1.5, neither"),
        ('{"id": 1e300, "answer": "x"}', "no id", "neither"),
        ('{"id": NaN, "answer": "x"}', "not JSON", "NaN is no JSON number"),
        ('{"id": "  ", "answer": "x"}', "no id", "neither"),
        ('{"id": [1], "answer": "x"}', "no id", "a list"),
        ('{"id": {"a": 1}, "answer": "x"}', "no id", "an object"),
        (json.dumps({"id": "x" * 5000, "answer": "x"}), "no id", "5000 characters"),
        ('{"id": 1, "question_id": 2, "answer": "x"}', "two ids", "'id', 'question_id'"),
        ('{"id": 1, "Answer_ID": 3}', "no answer", "'id', 'Answer_ID'"),
        ('{"id": 1, "answer": null}', "no answer", "'answer' is null"),
        ('{"id": 1, "answer": [null]}', "no answer", "is null"),
        ('{"id": 1, "answer": 1e999}', "answer not text", "is Infinity, neither text nor a number"),
        ('{"id": 1, "answer": true}', "answer not text", "is true"),
        ('{"id": 1, "answer": {"text": "x"}}', "answer not text", "an object"),
        ('{"id": 1, "answer": [["x"]]}', "answer not text", "a list"),
        ('{"id": 1, "answer": []}', "no single answer", "a list of 0"),
        ('{"id": 1, "answer": ["x", "x"]}', "no single answer", "a list of 2"),
        ('{"id": 1, "answer": "truth", "pred": true}', "answer not text", "'pred' is true"),
        ('{"id": 1, "answer": "x", "answer": "y"}', "not JSON", "twice"),
        ('{"id": 1, "answer": "\\ud800"}', "not text", "half of a character"),
        ('{"id": "\\udfff", "answer": "x"}', "not text", "half of a character"),
        ('{"id": 1, "answer": "x", "image": "\\ud800"}', "not text", "half of a character"),
        (json.dumps({"id": 1, "answer": "x" * 70_000}), "answer too long", "70000 characters"),
        ("[" * 100_000, "not JSON", ""),
        ('{"id": 1, "answer": ' + "9" * 5000 + "}", "not JSON", ""),
    ],
)
def test_a_line_that_is_no_prediction_is_told_by_number(tmp_path, line, kind, words):
    path = write(tmp_path, f"{SOUND}\n\n{line}\n{SOUND}\n")
    predictions, (problem,) = read_predictions(path)
    assert told(predictions) == [("sound", "yes", None)] * 2
    assert problem.kind == kind and problem.where == f"{path}, line 3" and words in problem.what
    assert predictions[1].where == f"{path}, line 4" and problem.count == 1 and not problem.by_rule


@pytest.mark.parametrize(
    ("element", "kind"),
    [
        ("3", "not a record"),
        ("[]", "not a record"),
        ('{"id": 1, "answer": "x", "answer": "y"}', "two answers"),
        ('{"id": 1, "id": 2, "answer": "y"}', "two ids"),
        ('{"id": NaN, "answer": "x"}', "no id"),
        ('{"id": Infinity, "answer": "x"}', "no id"),
        ('{"id": 1, "answer": "\\ud800"}', "not text"),
        ('{"id": 1, "answer": {}}', "answer not text"),
        ('{"id": 1, "answer": ["x", "y"]}', "no single answer"),
    ],
)
def test_an_element_of_a_list_that_is_no_prediction_is_told_by_number(tmp_path, element, kind):
    path = write(tmp_path, f"[{SOUND},\n{element}, {SOUND}]")
    predictions, (problem,) = read_predictions(path)
    assert [p.where for p in predictions] == [f"{path}, element 1", f"{path}, element 3"]
    assert (problem.kind, problem.where) == (kind, f"{path}, element 2")


def test_of_a_list_that_is_cut_off_the_beginning_is_read_and_the_end_told(tmp_path):
    predictions, (problem,) = read_predictions(write(tmp_path, f'[{SOUND},\n{{"id": 3, "ans'))
    assert told(predictions) == [("sound", "yes", None)]
    assert "line 2" in problem.where and "behind element 1" in problem.where and "up to here" in problem.what


def test_an_object_of_ids_with_several_answers_or_an_id_twice(tmp_path):
    path = write(tmp_path, '{"12": ["a", "b"], "13": "x", "13": "y", "14": null, "": "z", "15": {"answer": "x"}}')
    predictions, problems = read_predictions(path)
    assert told(predictions) == [("13", "x", None), ("13", "y", None)]
    kinds = [(p.kind, p.where.removeprefix(str(path))) for p in problems]
    assert kinds == [
        ("no single answer", ", key '12'"),
        ("no answer", ", key '14'"),
        ("no id", ", key ''"),
        ("answer not text", ", key '15'"),
    ]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize(
    "form", ['{"id": 1, "answer": "gr\u00fcn"}\r\n{"id": 2, "answer": "x"}', '{"1": "gr\u00fcn", "2": "x"}']
)
def test_a_file_is_decoded_as_it_announces_itself(tmp_path, form, encoding):
    """PowerShell writes UTF-16, and other programs of Windows a mark before UTF-8."""
    predictions, problems = read_predictions(write(tmp_path, form.encode(encoding)))
    assert [(p.key, p.answer) for p in predictions] == [("1", "gr\u00fcn"), ("2", "x")] and problems == []


def test_files_that_hold_nothing_are_refused_in_words(tmp_path, monkeypatch):
    for content, words in [
        ("", r"is empty \(0 bytes\)"),
        (bytes(40), "is zero bytes only"),
        (" \n", "is empty"),
        ("{}", "holds no prediction"),
        ("[]", "holds no prediction; the first problem: .*, line 1: is not an object"),
        ("[\n1]", "one JSON list"),
        ('[{"pred": "yes", "gt": "yes"}, {"pred": "no", "gt": "yes"}]', "holds no prediction; .* element 1: has no id"),
        (bytes(range(128, 256)), "line 1: byte 0 is not UTF-8"),
        ('{"id": 1, "answer": "x"}'.encode("utf-16-le"), "is UTF-16 text .*UTF-8: iconv -f UTF-16 -t UTF-8 .*p.json"),
        ('[{"id": 1, "answer": "x"}]'.encode("utf-16-be"), "is UTF-16 text"),
        (gzip.compress(b'{"id": 1, "answer": "x"}'), "is a gzip archive .*unpack it"),
        (b"PK\x03\x04\x14\0", "is a ZIP archive .*unpack it"),
        (b"BZh91AY&SY", "is a bzip2 archive"),
        (b"PAR1\x15\x04", "is a Parquet table"),
        (b"\x89PNG\r\n\x1a\n", "is a PNG picture"),
        (b"\x80\x04\x95", "is a Python pickle"),
        ("<!DOCTYPE html><html>", "is a web page"),
        ("version https://git-lfs.github.com/spec/v1\n", "is a Git LFS pointer"),
        ("id,answer\n1,yes\n", "no prediction in JSON .*table .CSV.: write one object per line"),
        ('"id";"answer"\n1;yes\n', "table .CSV."),
        ("\ufeffid\tanswer\n1\tyes\n", "table .CSV."),
    ]:
        with pytest.raises(SkyEyeError, match=words):
            read_predictions(write(tmp_path, content))
    for path in (tmp_path / "gone.json", tmp_path, "a\0b"):
        with pytest.raises(SkyEyeError, match="is no file|cannot be read"):
            read_predictions(path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SkyEyeError, match="is no file"):
        read_predictions(tmp_path / "pipe")
    monkeypatch.setattr(read, "LARGEST", len(SOUND) - 1)
    with pytest.raises(SkyEyeError, match=f"has {len(SOUND)} bytes, more than {len(SOUND) - 1}"):
        read_predictions(write(tmp_path, SOUND))


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ('{"id": 1, "text": "how many?", "answer": "2"}', "'text', 'answer'"),
        ('{"id": 1, "answer": "truth", "caption": null}', "'answer', 'caption'"),
        ('{"id": 1, "answer": "truth", "model_answer": "x"}', "'answer', 'model_answer'"),
        ('{"id": 1, "answer": "truth", "llm_responses": ["x"]}', "'answer', 'llm_responses'"),
        ('{"id": 1, "answer": "truth", "pred": 3}', "'answer', 'pred'"),
    ],
)
def test_where_truth_and_prediction_stand_side_by_side_one_has_to_be_named(tmp_path, line, names):
    """Lines on which both agree are no proof: of such a file exactly the right answers would be read."""
    agreeing = '{"id": 2, "answer": "yes", "prediction": "yes"}'
    for content in (f"{agreeing}\n{line}\n", f"[{agreeing}, {line}]"):
        path = write(tmp_path, content)
        with pytest.raises(
            SkyEyeError, match=f"p.json, (line|element) 2: has different answers under {names}; .*--answer-key"
        ):
            read_predictions(path)
    assert [p.keys for p in read_predictions(write(tmp_path, agreeing))[0]] == [("id", "answer")]
    predictions, problems = read_predictions(write(tmp_path, f"{agreeing}\n{line}"), answer_key="answer")
    assert [p.answer for p in predictions] == ["yes", "2" if "many" in line else "truth"] and problems == []


def test_the_answer_under_a_name_that_is_given(tmp_path):
    path = write(
        tmp_path,
        '{"qid": 1, "answer": "truth", "My-Reply": "x"}\n{"qid": 2, "answer": "y"}\n{"img": "a", "my_reply": 2}',
    )
    predictions, (problem,) = read_predictions(path, "my_reply")
    assert told(predictions) == [("1", "x", None), ("a", "2", "a")]
    assert [p.keys for p in predictions] == [("qid", "My-Reply"), ("img", "my_reply")]
    assert problem.kind == "no answer" and "line 2: has no 'my_reply'; its keys are 'qid', 'answer'" in str(problem)
    with pytest.raises(SkyEyeError, match="holds no prediction; .* has no 'reply'"):
        read_predictions(path, "reply")


def test_an_object_too_large_to_be_read_whole_is_no_prediction(tmp_path, monkeypatch):
    monkeypatch.setattr(read, "LARGEST_OBJECT", 10)
    with pytest.raises(SkyEyeError, match="line 1: has no id; its keys are '12', '13'"):
        read_predictions(write(tmp_path, '{"12": "yes", "13": "no"}'))
    assert len(read_predictions(write(tmp_path, f"{SOUND}\n{SOUND}"))[0]) == 2


@pytest.mark.parametrize("depth", [*range(100, 1100, 37), *range(900, 1000, 7)])
def test_deep_nesting_anywhere(tmp_path, depth):
    for deep in ("[" * depth + "]" * depth, '{"a":' * depth + "1" + "}" * depth):
        for line in (deep, f'{{"id": {deep}, "answer": "x"}}', f'{{"id": 1, "answer": {deep}}}'):
            for content in (f"{SOUND}\n{line}", f"[{SOUND},{line}]", f'{{"1": "x", "2": {line}}}'):
                try:
                    predictions, problems = read_predictions(write(tmp_path, content))
                except SkyEyeError as error:
                    assert "holds no prediction" in str(error)
                else:
                    assert len(predictions) == 1 and len(problems) == 1


text = st.text(st.characters(codec="utf-8"), max_size=12)
names = st.tuples(st.sampled_from(["id", "question_id", "qid"]), st.sampled_from(["answer", "text", "pred", "caption"]))


@given(
    items=st.lists(st.tuples(st.integers() | text.filter(str.strip), text, names), min_size=1, max_size=5),
    as_list=st.booleans(),
    ascii_=st.booleans(),
)
def test_what_is_written_is_read(tmp_path_factory, items, as_list, ascii_):
    rows = [{key: id, said: answer} for id, answer, (key, said) in items]
    if as_list:
        content = json.dumps(rows, ensure_ascii=ascii_)
    else:
        content = "".join(json.dumps(row, ensure_ascii=ascii_) + "\n" for row in rows)
    predictions, problems = read_predictions(write(tmp_path_factory.getbasetemp(), content))
    assert problems == []
    assert [prediction.key for prediction in predictions] == [str(id).strip() for id, _, _ in items]
    for prediction, (_, answer, _) in zip(predictions, items, strict=True):
        assert prediction.answer == answer or prediction.traces  # quotes around it, say


@pytest.mark.parametrize("seed", range(300))
def test_damaged_files_are_read_or_told(tmp_path, seed):
    rng = random.Random(seed)
    rows = [LLAVA, GEOCHAT, OURS, {"image_id": 12, "caption": "é \u2028 a ship"}, {"id": "1", "answer": "\\n"}]
    content = {
        0: "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows),
        1: json.dumps(rows),
        2: json.dumps({"12": ["{<1><2><3><4>}"], "13": ["a", "b"], "14": "x"}),
    }[seed % 3]
    data = bytearray(content.encode())
    for _ in range(rng.choice((1, 1, 3, 30))):
        at = rng.randrange(len(data) + 1)
        kind = rng.randrange(4)
        if kind == 0:
            del data[at : at + rng.choice((1, 5, 100))]
        elif kind == 1:
            data[at:at] = rng.choice(
                (b"\0", b"\n", b'"', b"{", b"[", b"]}", b"\xff\xfe", b"\\ud800", b"NaN", b"null", b",")
            )
        elif kind == 2:
            data[at : at + 3] = rng.randbytes(3)
        else:
            del data[at:]
        if not data:
            break
    try:
        predictions, problems = read_predictions(write(tmp_path, bytes(data)))
    except SkyEyeError as error:
        assert str(tmp_path) in str(error)
        return
    for p in predictions:
        assert p.key and isinstance(p.answer, str) and (p.key + p.answer + p.where).encode("utf-8")
    if predictions[0].where.endswith(", line 1") and seed % 3 == 0 and b"\0" not in data:
        lines = [line for line in bytes(data).split(b"\n") if line.strip()]
        assert len(predictions) + len(problems) == len(lines)
