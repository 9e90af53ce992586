"""The detective names the frame in which boxes were written, or says that it cannot tell, and never a wrong one."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from skyeye.data.geometry.boxes import OrientedBox
from skyeye.data.record import Record, Turn
from skyeye.eval.box_detective import detect
from skyeye.eval.box_frame import ORDERS, Frame, numbers_in
from skyeye.eval.metrics.oriented import answered_polygon, polygon, polygon_overlap

SIZES = [(512, 512), (800, 600), (1200, 900)]
CORNERS, SWAPPED, BY_SIZE, CENTRED = ORDERS


def _square(box, size, side, place):
    """Corners in the square of ``side`` that the image is padded to."""
    width, height = size
    longest = max(size)
    left, top = ((longest - width) / 2, (longest - height) / 2) if place == "centre" else (0, 0)
    return [
        (v * s + before) / longest * side
        for v, s, before in zip(box, (width, height) * 2, (left, top) * 2, strict=True)
    ]


def _scaled(box, across, down):
    return [box[0] * across, box[1] * down, box[2] * across, box[3] * down]


def _by_size(c):
    return [c[0], c[1], c[2] - c[0], c[3] - c[1]]


def _centred(c):
    return [(c[0] + c[2]) / 2, (c[1] + c[3]) / 2, c[2] - c[0], c[3] - c[1]]


def _longer(size, side):
    return [s * side / max(size) for s in size]


#: convention: (the frame it is, box and size of the image -> numbers, digits)
CONVENTIONS = {
    "unit": (Frame("0..1", 1.0), lambda b, s: list(b), 3),
    "hundredths": (Frame("0..100", 100.0), lambda b, s: _scaled(b, 100, 100), 0),
    "thousandths": (Frame("0..1000", 1000.0), lambda b, s: _scaled(b, 1000, 1000), 0),
    "999": (Frame("0..999", 999.0), lambda b, s: _scaled(b, 999, 999), 0),
    "pixels": (Frame("pixels", None), lambda b, s: _scaled(b, *s), 0),
    "input": (Frame("pixels of a square of 448", 448.0), lambda b, s: _scaled(b, 448, 448), 0),
    "longer side": (
        Frame("pixels of an image with a longer side of 1024", 1024.0, True),
        lambda b, s: _scaled(b, *_longer(s, 1024)),
        0,
    ),
    "y first": (
        Frame("0..1000", 1000.0, order=SWAPPED),
        lambda b, s: [_scaled(b, 1000, 1000)[i] for i in (1, 0, 3, 2)],
        0,
    ),
    "corner and size": (Frame("pixels", None, order=BY_SIZE), lambda b, s: _by_size(_scaled(b, *s)), 0),
    "centre and size": (Frame("0..1", 1.0, order=CENTRED), lambda b, s: _centred(b), 3),
    "padded": (Frame("0..1", 1.0, padded="centre"), lambda b, s: _square(b, s, 1, "centre"), 2),
    "counted from 1": (Frame("0..100", 100.0, first=1), lambda b, s: [v + 1 for v in _scaled(b, 100, 100)], 0),
}


def _asked(size, convention, sigma, seed, count=50):
    """Records with a true box each, and answers off by ``sigma`` of the image in every number."""
    rng = random.Random(f"{seed}{size}{convention}{sigma}")
    _, write, digits = CONVENTIONS[convention]
    records, texts = [], []
    for n in range(count):
        width, height = rng.uniform(0.05, 0.4), rng.uniform(0.05, 0.4)
        x, y = rng.uniform(0, 1 - width), rng.uniform(0, 1 - height)
        box = (x, y, x + width, y + height)
        references = {"boxes": [box], "size": size}
        records.append(
            Record(f"r:{n}", "x", "refer", "test", (f"{n}.png",), (Turn("where?", "", "refer"),), references=references)
        )
        off = [v + rng.gauss(0, sigma) for v in box]
        off = [
            min(max(v, 0), 1)
            for v in (min(off[0], off[2]), min(off[1], off[3]), max(off[0], off[2]), max(off[1], off[3]))
        ]
        texts.append("[" + ", ".join(f"{v:.{digits}f}" for v in write(off, size)) + "]")
    return records, texts


@pytest.mark.parametrize("sigma", [0.02, 0.05, 0.12])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("convention", CONVENTIONS)
def test_the_frame_is_named_or_not_at_all(convention, size, sigma):
    verdict = detect(*_asked(size, convention, sigma, 0))
    true = CONVENTIONS[convention][0]
    assert verdict.frame is None or true in (verdict.frame, *verdict.alike), str(verdict)
    if sigma == 0.02 and convention != "input":
        assert verdict.frame is not None, str(verdict)


def test_answers_about_anything_have_no_frame():
    records, _ = _asked((800, 600), "pixels", 0.02, 0)
    _, others = _asked((800, 600), "pixels", 0.02, 1)
    assert detect(records, others).frame is None


def test_a_scale_without_a_name_is_not_taken_for_its_neighbour():
    records, _ = _asked((800, 600), "unit", 0.0, 0)
    texts = [str([round(v * 710) for v in record.references["boxes"][0]]) for record in records]
    verdict = detect(records, texts)
    assert verdict.frame is None and "a scale without a name" in str(verdict)


def test_without_sizes_of_the_images_scales_in_pixels_are_not_tried():
    records, texts = _asked((800, 600), "thousandths", 0.02, 0)
    unsized = [replace(record, references={"boxes": record.references["boxes"]}) for record in records]
    assert detect(unsized, texts).frame == Frame("0..1000", 1000.0)
    assert detect(unsized[:10], texts[:10]).frame is None  # too few


@pytest.mark.parametrize("turned", [1, -1])
def test_the_direction_of_angles(turned):
    """GeoChat's braces: an upright box in hundredths, and the degrees by which it is turned."""
    rng = random.Random(turned)
    records, texts = [], []
    for n in range(50):
        cx, cy, width, height, angle = *(rng.uniform(0.3, 0.7) for _ in "xy"), 0.3, 0.1, rng.uniform(10, 80)
        true = OrientedBox.from_centre(cx, cy, width, height, angle)
        references = {"boxes": [true.upright().as_tuple()], "polygons": [tuple(true)], "size": (600, 600)}
        turn = (Turn("where?", "", "refer"),)
        records.append(Record(f"r:{n}", "x", "refer", "test", (f"{n}.png",), turn, references=references))
        sides = (cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2)
        texts.append("{" + "".join(f"<{round(100 * v)}>" for v in sides) + f"|<{round(turned * angle)}>" + "}")
    verdict = detect(records, texts)
    assert verdict.frame == Frame("0..100", 100.0) and verdict.turned == turned
    box = verdict.frame.read(numbers_in(texts[0])[0], (600, 600), verdict.turned)
    assert polygon_overlap(answered_polygon(box), polygon(records[0].references["polygons"][0])[0]) > 0.9


@pytest.mark.parametrize(
    ("text", "four", "angle"),
    [
        ("[1, 2, 3, 4]", (1, 2, 3, 4), None),
        ("<box>(10,20),(30,40)</box>", (10, 20, 30, 40), None),
        ("at {<10><20><30><40>|<90>}", (10, 20, 30, 40), 90),
        ("[0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8]", (0.1, 0.2, 0.7, 0.8), None),
        ("<quad>(1,2),(3,4),(5,6),(7,8)</quad>", (1, 2, 7, 8), None),
    ],
)
def test_numbers_of_all_notations_are_found(text, four, angle):
    found = numbers_in(text)[0]
    assert found.four == pytest.approx(four) and found.angle == angle


def test_a_padded_box_is_read_in_the_image():
    """The middle half of an 800 x 600 image, written as of its 800 x 800 square: y from (100 + 150) / 800 on."""
    frame = Frame("0..1", 1.0, padded="centre")
    read = frame.read(numbers_in("[0.25, 0.3125, 0.75, 0.6875]")[0], (800, 600))
    assert read.as_tuple() == pytest.approx((0.25, 0.25, 0.75, 0.75))
