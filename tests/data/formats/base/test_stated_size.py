"""Sizes that annotations state, and the pictures they belong to."""

import json

import pytest
from PIL import Image

from skyeye.data.formats.base.image_folder import ABSENT
from skyeye.data.formats.base.problems import BadRecord
from skyeye.data.formats.base.stated_size import measured_on


@pytest.fixture
def picture(tmp_path):
    """Writes a picture of a stored size with an EXIF orientation and returns its path."""

    def write(width, height, orientation=1, name="a.jpg"):
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.new("RGB", (width, height), "grey").save(tmp_path / name, exif=exif)
        return str(tmp_path / name)

    return write


@pytest.mark.parametrize(
    ("stored", "orientation", "stated", "turn", "remarks"),
    [
        ((80, 40), 1, (80, 40), 1, False),
        ((80, 40), 1, (800, 400), 1, False),  # a smaller copy
        ((80, 40), 1, (1013, 507), 1, False),  # reduced to whole pixels
        ((80, 40), 6, (40, 80), 1, False),  # annotated as it is shown
        ((80, 40), 6, (80, 40), 6, True),
        ((80, 40), 8, (160, 80), 8, True),
        ((41, 40), 5, (41, 40), 5, True),  # near to square
        ((41, 40), 5, (40, 41), 1, False),
        ((80, 40), 3, (80, 40), 1, True),  # nobody can know
        ((40, 40), 6, (40, 40), 1, True),
    ],
)
def test_what_an_annotation_was_measured_on(picture, stored, orientation, stated, turn, remarks):
    measured = measured_on(picture(*stored, orientation), stated, "here")
    assert (measured.size, measured.orientation, measured.remark is not None) == (stated, turn, remarks)
    assert measured.shown_size == (stated[::-1] if turn > 4 else stated)
    if measured.remark:
        assert measured.remark.count == 0 and measured.remark.kind == "turned image"


@pytest.mark.parametrize(
    ("stored", "stated", "words"),
    [
        ((80, 40), (400, 100), "is shown as 80 x 40 pixels, its annotation says 400 x 100; its boxes"),
        ((80, 40), (40, 80), "says 40 x 80: width and height seem to be exchanged"),
        ((800, 800), (800, 600), "is shown as 800 x 800"),
    ],
)
def test_another_shape(picture, stored, stated, words):
    with pytest.raises(BadRecord, match=words) as caught:
        measured_on(picture(*stored), stated, "x.json, image 3")
    assert caught.value.kind == "image of another shape" and caught.value.where == "x.json, image 3"


def test_what_cannot_be_opened_is_left_to_whoever_decodes_it(tmp_path):
    (tmp_path / "a.jpg").write_text("no picture")
    for image in (str(tmp_path / "a.jpg"), str(tmp_path / "none.jpg"), f"{ABSENT}b.jpg"):
        assert measured_on(image, (5, 7), "here").size == (5, 7)


XML = (
    "<annotation><filename>a.jpg</filename><size><width>{}</width><height>{}</height></size><object><name>roof</name>"
    "<bndbox><xmin>8</xmin><ymin>8</ymin><xmax>24</xmax><ymax>16</ymax></bndbox><description>a roof</description>"
    "</object></annotation>"
)


def coco(folder, width, height):
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [8, 8, 16, 8]}
    content = {
        "images": [{"id": 1, "file_name": "a.jpg", "width": width, "height": height}],
        "annotations": [annotation],
        "categories": [{"id": 1, "name": "roof"}],
    }
    (folder / "x.json").write_text(json.dumps(content))
    return folder / "x.json"


def xml(folder, width, height):
    (folder / "a.xml").write_text(XML.format(width, height))
    return folder


def line(folder, width, height, **keys):
    content = {"image": "a.jpg", "unit": "pixels", "width": width, "height": height, **keys}
    (folder / "x.jsonl").write_text(json.dumps(content))
    return folder / "x.jsonl"


def boxes(folder, width, height):
    return line(folder, width, height, boxes=[{"box": [8, 8, 24, 16], "label": "roof"}])


def polygons(folder, width, height):
    return line(folder, width, height, boxes=[{"polygon": [8, 8, 24, 8, 24, 16, 8, 16], "label": "roof"}])


def fractions(folder, width, height):
    entry = {"box": [8 / width, 8 / height, 24 / width, 16 / height], "label": "roof"}
    return line(folder, width, height, unit="normalised", boxes=[entry])


def mentions(folder, width, height):
    asked = {"question": "where is the roof?", "answer": "<box>", "mentions": [[8, 8, 24, 16]], "task": "refer"}
    return line(folder, width, height, **asked)


READERS = {
    **{"coco": ("coco", coco), "voc": ("voc", xml), "fair1m": ("fair1m", xml), "dior_rsvg": ("dior_rsvg", xml)},
    **{one.__name__: ("jsonl", one) for one in (boxes, polygons, fractions, mentions)},
}


@pytest.mark.parametrize("name", READERS)
def test_readers_turn_boxes_with_their_picture_or_report_the_record(name, picture, tmp_path, items):
    format, write = READERS[name]
    picture(80, 40, orientation=6)
    for stated in ((80, 40), (40, 80)):
        records, skipped = items(format, write(tmp_path, *stated))
        (answer,) = {tuple(r.turns[0].answer_mentions[0].boxes[0]) for r in records if r.task == "refer"}
        corners = answer[::2], answer[1::2]
        found = tuple(round(edge, 9) for values in corners for edge in (min(values), max(values)))
        if stated == (80, 40):  # a quarter clockwise: left 1 - 16/40, top 8/80
            assert found == (0.6, 0.8, 0.1, 0.3) and skipped == {"turned image": 0}
        else:
            assert found == (0.2, 0.6, 0.1, 0.2) and skipped == {}
        sizes = {tuple(r.references["size"]) for r in records if "size" in r.references}
        assert sizes <= {(40, 80)}
    records, skipped = items(format, write(tmp_path, 400, 100))
    assert records == [] and skipped == {"image of another shape": 1}
