import pytest

from skyeye.errors import SkyEyeError

THINGS = {
    "water area": {"present": ["River", "Pond"], "absent": ["BareLand"]},
    "industrial area": {"absent": ["River"]},
}


@pytest.fixture
def scenes(tmp_path, write_images):
    write_images(tmp_path, "River/r_1.jpg", "Pond/p_1.jpg", "BareLand/b_1.jpg", "Park/k_1.jpg", "loose.jpg")
    return tmp_path


def test_a_thing_is_asked_about_where_the_class_settles_it(scenes, read):
    records, skipped = read("scene_presence", scenes, things=THINGS)
    assert skipped == {"no answer": 1}  # the image without a class
    said = {record.id: (record.turns[0].question, record.turns[0].answer) for record in records}
    assert {key: answer for key, (_, answer) in said.items()} == {
        "River/r_1.jpg#water area": "yes",
        "River/r_1.jpg#industrial area": "no",
        "Pond/p_1.jpg#water area": "yes",
        "BareLand/b_1.jpg#water area": "no",
    }  # of a park nothing is known
    for key, (question, _) in said.items():
        words = "an industrial area" if "industrial" in key else "a water area"
        assert question in (f"[vqa] Is there {words}?", f"[vqa] Is {words} present?")
    assert {(record.task, record.references["type"], record.regions) for record in records} == {("vqa", "presence", ())}
    assert {record.references["answer"] for record in records} == {"yes", "no"}


def test_both_ways_to_ask_are_used(tmp_path, write_images, read):
    write_images(tmp_path, *(f"Pond/{number}.jpg" for number in range(16)))
    records, _ = read("scene_presence", tmp_path, things={"pond": {"present": ["Pond"]}})
    assert {record.turns[0].question for record in records} == {"[vqa] Is there a pond?", "[vqa] Is a pond present?"}


@pytest.mark.parametrize(
    ("things", "match"),
    [
        ({"wood": {"present": ["Rivers"]}}, "options.things.wood.present: no class 'Rivers'.*River"),
        ({"wood": {"present": ["River"], "absent": ["River"]}}, "'River' is present and absent"),
        ({"wood": {"there": ["River"]}}, "expected the keys present and absent"),
        ({"wood": {"present": "River"}}, "things: .*each value a list"),
    ],
)
def test_mistakes_are_named(scenes, read, things, match):
    with pytest.raises(SkyEyeError, match=match):
        read("scene_presence", scenes, things=things)
