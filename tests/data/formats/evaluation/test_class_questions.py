import json

import pytest

from skyeye.config.schema import SourceConfig
from skyeye.data.formats import read_with_problems
from skyeye.errors import SkyEyeError


def voc(folder, write_images, objects):
    write_images(folder, "JPEGImages/1.jpg", size=(100, 100))
    boxes = "".join(
        f"<object><name>{name}</name><difficult>{hard}</difficult><bndbox><xmin>{x}</xmin><ymin>10</ymin>"
        f"<xmax>{x + 2}</xmax><ymax>12</ymax></bndbox></object>"
        for x, (name, hard) in enumerate(objects, start=20)
    )
    size = "<size><width>100</width><height>100</height><depth>3</depth></size>"
    (folder / "Annotations").mkdir()
    (folder / "Annotations/1.xml").write_text(f"<annotation><filename>1.jpg</filename>{size}{boxes}</annotation>")
    return folder


def read(folder, **options):
    source = SourceConfig("class_questions", str(folder), None, None, {"of": "voc", **options})
    return read_with_problems(source, "x")


def test_every_class_is_asked_and_nothing_is_too_small(tmp_path, write_images):
    folder = voc(tmp_path, write_images, [("golffield", 0), ("Ship", 0), ("Ship", 1), ("moonbase", 0)])
    records, problems = read(folder, classes=["golf field", "ship", "dam"])
    assert [(r.references["class"], len(r.references["boxes"])) for r in records] == [
        ("golf field", 1),
        ("ship", 1),
        ("dam", 0),
    ]
    assert len(records[1].references["difficult"]["boxes"]) == 1 and records[2].turns[0].answer == "none"
    assert [(p.kind, p.count) for p in problems] == [("unknown class", 0)] and "moonbase" in problems[0].what
    counts, _ = read(folder, classes=["golf field", "ship", "dam"], task="counting")
    assert [r.references["answer"] for r in counts] == ["1", "2", "0"]
    assert counts[1].turns[0].question == "How many ships are there in the image?"
    json.dumps([r.references for r in records])


@pytest.mark.parametrize("options", [{"of": "karpathy"}, {"task": "caption"}])
def test_options(tmp_path, write_images, options):
    with pytest.raises(SkyEyeError, match="unknown value"):
        read(voc(tmp_path, write_images, [("ship", 0)]), classes=["ship"], **options)
