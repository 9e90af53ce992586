"""Which record a prediction answers; what names none, or several, or one twice, is listed and counts for nothing."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyeye.config.schema import SourceConfig
from skyeye.data.formats import read_with_problems
from skyeye.data.record import Record, Turn
from skyeye.eval.answers import Prediction, match


def record(id, *images, published=None, task="vqa"):
    references = {} if published is None else {"published_id": published}
    return Record(id, "s", task, "test", images, (Turn("[vqa] how many?", "2"),), references)


def question(number, image):
    """As the reader of RSVQA makes them."""
    return record(f"test:{number}", image, published=str(number))


def said(*keys, image=None):
    return [Prediction(str(key), f"answer {place}", f"line {place + 1}", image) for place, key in enumerate(keys)]


VQA = [question(0, "d/7.png"), question(1, "d/7.png"), question(2, "d/8.png")]
CAPTIONS = [
    record("b/7.tif", "d/b/7.tif"),
    record("b/8.tif", "absent:8.tif"),
    record("b/9.tif", "s.tar#offset=1&size=2"),
]


@pytest.mark.parametrize(
    ("keys", "records", "answers", "way"),
    [
        (["test:2", "test:0", "test:1"], VQA, [1, 2, 0], "the id"),
        (["2", "0", "1"], VQA, [1, 2, 0], "published"),
        (["2", "test:0", "1"], VQA, [1, 2, 0], "the id of the record or the id in the published"),
        (["test:2"], VQA, [None, None, 0], "the id"),
        (["b/7.tif", "8"], CAPTIONS, [0, 1, None], "image"),
        (["b/8.tif", "b/7.tif", "b/9.tif"], CAPTIONS, [1, 0, 2], "the id"),
        (["7", "8"], CAPTIONS, [0, 1, None], "image"),
        (["other/8.tif", "b\\7.tif"], CAPTIONS, [1, 0, None], "image"),
        (["8.png"], VQA, [None, None, 0], "image"),
        (["x.y"], [record("a", "x.y.png")], [0], "image"),
        (["a:b:1"], [record("a:b:1"), record("x:a:b:1")], [0, None], "the id"),
    ],
)  # fmt: skip
def test_each_way_of_naming_records(keys, records, answers, way):
    matched = match(said(*keys), records)
    assert matched.answers == [None if place is None else f"answer {place}" for place in answers]
    assert matched.unknown == matched.double == [] and way in matched.way and matched.reasons == {}
    assert matched.missing == [r.id for r, place in zip(records, answers, strict=True) if place is None]


def test_unknown_missing_and_double_are_listed_in_full():
    matched = match(said("test:0", "test:9", "test:1", "test:9", "test:1", ""), VQA)
    assert matched.answers == ["answer 0", None, None]
    assert matched.unknown == ["test:9", ""]
    assert matched.missing == ["test:2"]
    assert matched.double == ["test:1"]
    assert matched.reasons == {"test:1": "2 predictions, different answers: line 3; line 5"}


def test_the_same_answer_several_times_counts_once_and_is_told():
    several = [Prediction("1", "yes", f"line {n}") for n in (1, 2, 3, 4)]
    matched = match(several, VQA)
    assert matched.answers == [None, "yes", None] and matched.repeated == ["1"] and matched.double == []
    assert matched.missing == ["0", "2"]
    assert matched.reasons == {"1": "4 predictions, the same answer: line 1; line 2; line 3; and 1 more"}
    other = match([*several, Prediction("1", "no", "line 5")], VQA)
    assert other.answers == [None] * 3 and other.double == ["1"] and other.repeated == []
    assert "5 predictions, different answers: line 1" in other.reasons["1"]


def test_the_number_of_a_line_is_no_id():
    """RSIVQA, RSVG and ERA publish no ids: their records are counted here, and others may count from 0."""
    lines = [record(f"dota_val_vqa2:{number}", f"P000{number // 3}.png") for number in range(1, 7)]
    matched = match(said(0, 1, 2, 3, 4, 5), lines)
    assert matched.answers == [None] * 6 and matched.unknown == ["0", "1", "2", "3", "4", "5"]


def test_a_whole_id_names_its_record_beside_others_that_are_published_ones():
    twice = match(said("test:1", 0, 1, 2), VQA)
    assert twice.answers == ["answer 1", None, "answer 3"] and twice.double == ["1"] and twice.unknown == []
    assert twice.reasons == {"1": "2 predictions, different answers: line 1; line 3"}
    assert match(said("test:0", "test:1", 2), VQA).answers == ["answer 0", "answer 1", "answer 2"]


#: 1.tif to 6.tif, which the annotation numbers from 0.
UCM = [record(f"{n}.tif", f"absent:{n}.tif", published=str(n - 1), task="caption") for n in range(1, 7)]


def test_results_of_coco_s_form_name_images_by_the_id_of_the_annotation():
    coco = [Prediction(str(n - 1), f"of {n}", "", str(n - 1)) for n in range(1, 7)]
    matched = match(coco, UCM)
    assert matched.answers == [f"of {n}" for n in range(1, 7)] and matched.unknown == []
    assert "published" in matched.way
    # numbers in the names of files: one more of them fits
    names = [Prediction(str(n), f"of {n}", "", str(n)) for n in range(1, 7)]
    assert match(names, UCM).answers == [f"of {n}" for n in range(1, 7)]
    # a part of the file that fits both is not guessed
    matched = match(coco[1:], UCM)
    assert matched.answers == [None] * 6 and matched.unknown == [str(n) for n in range(1, 6)]
    assert matched.reasons["1"].startswith("names 1.tif, and by the id in the published annotation 2.tif")
    # beside the name, it is the id of the same image
    both = [Prediction(f"{n}.tif", f"of {n}", "", str(n - 1)) for n in range(1, 7)]
    assert match(both, UCM).answers == [f"of {n}" for n in range(1, 7)]


def test_what_a_file_calls_an_image_is_no_question():
    images = [Prediction(str(n), "x", "", str(n)) for n in (0, 1, 2)]
    matched = match(images, VQA)
    assert matched.answers == [None] * 3 and matched.unknown == ["0", "1", "2"]


def test_all_keys_of_a_file_are_read_in_one_way():
    """Ids of another split that happen to be image names are not taken for these."""
    matched = match(said("test:0", "test:1", "8", "2"), VQA)
    assert matched.answers == ["answer 0", "answer 1", "answer 3"] and matched.unknown == ["8"]
    several = [record("a:0", "1.png"), record("a:1", "2.png"), record("a:2", "8.png")]
    assert match(said("a:0", "a:1", "8"), several).unknown == ["8"]
    matched = match(said("0", "1", "8"), VQA)
    assert matched.answers == ["answer 0", "answer 1", None] and matched.unknown == ["8"]


def test_the_way_is_the_one_by_which_most_keys_name_exactly_one_record():
    numbers = [question(0, "1.png"), question(5, "1.png"), question(6, "2.png"), question(7, "2.png")]
    assert match(said(0, 1, 2), numbers).answers == ["answer 0", None, None, None]  # 1 and 2: two questions each
    assert match(said("s", "s.tar"), CAPTIONS).unknown == ["s", "s.tar"], "a shard is no image"


def test_a_key_that_names_two_records_is_unknown():
    matched = match(said("7", "8"), VQA)  # two questions about 7.png
    assert matched.answers == [None, None, "answer 1"] and matched.unknown == ["7"]
    assert matched.reasons == {"7": "names 2 records: test:0, test:1"}
    matched = match(said(0, 1), [record(f"{n}", published=n[-1]) for n in ("a:0", "b:0", "b:1")])
    assert matched.answers == [None, None, "answer 1"] and matched.unknown == ["0"]


def test_numbers_that_may_be_questions_or_images_are_not_guessed():
    mixed = [question(0, "1.png"), question(1, "0.png"), question(2, "2.png")]
    matched = match(said(0, 1, 2), mixed)
    assert matched.answers == [None, None, "answer 2"] and matched.unknown == ["0", "1"]
    assert matched.reasons["0"] == "names test:0, and by the name of the image test:1"
    # one more of them is a question: then all are
    more = [*mixed, question(3, "x.png")]
    assert match(said(0, 1, 2, 3), more).answers == [f"answer {n}" for n in range(4)]
    # whole ids leave no doubt
    bare = [record("0", "1.png"), record("1", "0.png")]
    assert match(said(0, 1), bare).answers == ["answer 0", "answer 1"]
    # nor does a file that calls them images
    images = [Prediction(k, f"of {k}", "", k) for k in ("0", "1", "2")]
    assert match(images, mixed).answers == ["of 1", "of 0", "of 2"]
    assert match(images, bare).answers == ["of 1", "of 0"]


def test_the_image_beside_an_id_must_not_be_that_of_another_record():
    questions = [
        Prediction("0", "a", "", "7.jpg"),
        Prediction("1", "b", "", "8.png"),
        Prediction("2", "c", "", "x/8.png"),
    ]
    matched = match(questions, VQA)
    assert matched.answers == ["a", None, "c"] and matched.unknown == ["1"]
    assert matched.reasons == {"1": "names test:1, but its image 8.png is that of test:2"}
    # the same under another extension
    copies = [Prediction("1", "b", "", "8.tif"), Prediction("2", "c", "", "8.jp2"), Prediction("0", "a", "", "7.v2.x")]
    matched = match(copies, VQA)
    assert matched.answers == ["a", None, "c"] and matched.unknown == ["1"]
    assert matched.reasons == {"1": "names test:1, but its image 8.tif is that of test:2"}
    # an image that the benchmark does not know proves nothing
    assert match([Prediction("1", "b", "", "renamed.png")], VQA).answers == [None, "b", None]


def test_the_image_names_the_record_where_the_ids_are_those_of_another_program():
    mine = [
        Prediction("x1", "a", "", "b/7.tif"),
        Prediction("x2", "b", "", "8.tif"),
        Prediction("x3", "c", "", "z.tif"),
    ]
    matched = match(mine, CAPTIONS)
    assert matched.answers == ["a", "b", None] and matched.unknown == ["x3"] and matched.missing == ["b/9.tif"]


def test_frames_of_one_video_have_its_name_and_several_images_have_none():
    video = [record("a", "d/v.mp4#frame=1", "d/v.mp4#frame=9"), record("b", "w/1.png", "w/2.png")]
    matched = match(said("v.mp4", "1.png", "2"), video)
    assert matched.answers == ["answer 0", None] and matched.unknown == ["1.png", "2"]


@given(st.data())
def test_every_prediction_and_every_record_is_accounted_for(data):
    ids = data.draw(st.lists(st.sampled_from(["a", "t:1", "t:2", "u:2", "3", "1.png", ":", "t:"]), unique=True))
    images = st.lists(st.sampled_from(["1.png", "d/2.png", "3", ":", "a.b.c", ""]), max_size=2)
    task = data.draw(st.sampled_from(["vqa", "caption"]))
    published = st.none() | st.sampled_from(["1", "2", "3"])
    records = [record(id, *data.draw(images), published=data.draw(published), task=task) for id in ids]
    keys = st.sampled_from(["a", "1", "2", "3", "t:1", "u:2", "1.png", ":", "", "/"])
    predictions = [
        Prediction(key, f"{place}", f"line {place}", image)
        for place, (key, image) in enumerate(data.draw(st.lists(st.tuples(keys, st.none() | keys), max_size=6)))
    ]
    matched = match(predictions, records)
    assert len(matched.answers) == len(records)
    given_to = [r.id for r, answer in zip(records, matched.answers, strict=True) if answer is not None]
    named = [*matched.missing, *matched.double]
    assert len(given_to) + len(named) == len(ids) and len(set(named)) == len(named)
    used = [answer for answer in matched.answers if answer is not None]
    assert len(set(used)) == len(used)
    assert len(predictions) >= len(used) + 2 * len(matched.double) + len(matched.unknown)
    if not matched.double:
        rest = {p.key for p in predictions if p.answer not in used}
        assert rest == set(matched.unknown)


def test_real_question_ids_of_a_published_benchmark():
    """RSVQA-LR as published: its question ids, as numbers or text, name the records."""
    root = Path(os.environ.get("SKYEYE_SHARED") or Path(__file__).resolve().parents[3] / "../shared") / "data"
    if not (root / "RSVQA_LR").is_dir():
        pytest.skip("the published annotations of RSVQA-LR are not beside the project")
    source = SourceConfig(format="rsvqa", path=str(root / "RSVQA_LR"), split="test")
    records, _ = read_with_problems(source, "x", keep_absent=True)
    assert all(r.id == f"test:{r.references['published_id']}" for r in records)
    predictions = [Prediction(r.references["published_id"], r.turns[0].answer, "") for r in reversed(records)]
    matched = match(predictions, records)
    assert matched.answers == [r.turns[0].answer for r in records] and len(records) > 500
    assert matched.unknown == matched.missing == matched.double == []
