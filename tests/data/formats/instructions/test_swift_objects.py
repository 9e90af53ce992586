import json

import pytest
from PIL import Image

from skyeye.config.schema import SourceConfig
from skyeye.data.formats import read_with_problems
from skyeye.data.geometry.boxes import Box
from skyeye.data.record import MARK, Mention


@pytest.fixture
def read(tmp_path):
    """Reads lines about ``a.jpg``, 200 x 100 pixels."""
    Image.new("RGB", (200, 100)).save(tmp_path / "a.jpg")

    def of(*items: dict):
        whole = said("fine", "yes", {})
        lines = [*items, *[whole] * (len(items) + 1)]  # more sound than broken ones, or the file is refused
        (tmp_path / "swift.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        records, problems = read_with_problems(SourceConfig("llava", str(tmp_path / "swift.jsonl")), "swift")
        return records[: len(records) - len(items) - 1], problems

    return of


def said(question: str, answer: str, objects: object) -> dict:
    messages = [{"role": "user", "content": f"<image>{question}"}, {"role": "assistant", "content": answer}]
    return {"messages": messages, "images": ["a.jpg"], "objects": objects}


def test_pixels_are_the_default_and_places_are_filled_in_order(read):
    objects = {"ref": ["ship", "tank"], "bbox": [[20, 10, 40, 50], [100, 0, 200, 100], [0, 0, 200, 100]]}
    (record,), problems = read(said("find <ref-object>", "<ref-object><bbox><bbox> and <bbox>", objects))
    assert not problems
    (turn,) = record.turns
    assert (turn.question, turn.answer) == (f"find {MARK}", f"{MARK} and {MARK}")
    assert turn.mentions == (
        Mention((), "ship"),
        Mention((Box(0.1, 0.1, 0.2, 0.5), Box(0.5, 0, 1, 1)), "tank"),
        Mention((Box(0, 0, 1, 1),)),
    )


def test_fractions_and_a_system_and_several_turns(read):
    item = said("where?", "<bbox>", {"bbox": [[0.1, 0.2, 0.3, 0.4], [0.5, 0.5, 1, 1]], "bbox_type": "norm1"})
    more = [{"role": "user", "content": "is <bbox> one?"}, {"role": "assistant", "content": "yes"}]
    item["messages"] = [{"role": "system", "content": "Be brief."}, *item["messages"], *more]
    (record,), _ = read(item)
    assert record.turns[0].system == "Be brief."
    assert [turn.mentions for turn in record.turns] == [
        (Mention((Box(0.1, 0.2, 0.3, 0.4),)),),
        (Mention((Box(0.5, 0.5, 1, 1),)),),
    ]


@pytest.mark.parametrize(
    ("objects", "kind"),
    [
        ({"bbox": []}, "malformed box"),
        ({"bbox": [[1, 2, 3, 4], [1, 2, 3, 4]]}, "malformed box"),
        ({"bbox": [[1, 2]]}, "malformed box"),
        ({"bbox": [[1, 2, 3, float("nan")]]}, "not JSON"),
        ({"bbox": [[1, 2, 3, True]]}, "malformed box"),
        ({"bbox": [[30, 2, 3, 4]]}, "inverted box"),
        ({"bbox": [[1, 2, 300, 4]]}, "box outside the image"),
        ({"bbox": [[0.1, 2, 3, 4]], "bbox_type": "norm1"}, "box outside the image"),
        ({"bbox": [[1, 2, 3, 4]], "bbox_type": "norm1000"}, "malformed box"),
        ({"bbox": [[1, 2, 3, 4]], "image_id": [1]}, "no image"),
        ({"bbox": [[1, 2, 3, 4]], "ref": ["ship"]}, "malformed box"),
        ({"bbox": {"a": 1}}, "malformed box"),
        ([1], "malformed box"),
    ],
)
def test_what_does_not_fit_is_reported(read, objects, kind):
    records, problems = read(said("where?", "<bbox>", objects))
    assert not records and [problem.kind for problem in problems] == [kind]
