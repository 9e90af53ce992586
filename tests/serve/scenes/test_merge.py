"""Boxes of overlapping windows become objects: across seams, across scales, once each."""

import itertools
import random

import pytest

from skyeye.serve.scenes.merge import Detection, cut_sides, merge

SIZE = (1000, 1000)


def found(box, window=(0, 0, 1000, 1000), score=0.9, label="ship", scale=1.0, question=0, phrase=""):
    left, top, right, bottom = box
    corners = ((left, top), (right, top), (right, bottom), (left, bottom))
    cut = cut_sides(box, window, SIZE)
    return Detection(question, label, phrase or label, corners, False, score, scale, (window,), cut)


def turned(corners, window, score=0.9):
    plain = Detection(0, "ship", "ship", tuple(corners), True, score, 1.0, (window,))
    return Detection(**{**vars(plain), "cut": cut_sides(plain.extent, window, SIZE)})


LEFT, RIGHT = (0, 0, 400, 400), (300, 0, 700, 400)  # share columns 300 to 400


def test_a_box_is_cut_where_its_window_ends_and_the_scene_goes_on():
    assert cut_sides((0, 0, 400, 400), LEFT, SIZE) == {"right", "bottom"}
    assert cut_sides((0, 10, 393, 300), LEFT, SIZE) == {"right"}  # within a fiftieth of the side, 8 pixels
    assert cut_sides((0, 10, 391, 300), LEFT, SIZE) == frozenset()
    assert cut_sides((600, 0, 1000, 1000), (600, 600, 1000, 1000), SIZE) == {"left", "top"}


def test_the_halves_of_an_object_larger_than_the_overlap_are_joined():
    (ship,) = merge([found((200, 100, 400, 150), LEFT, 0.9), found((300, 102, 600, 152), RIGHT, 0.6)])
    assert ship.extent == (200, 100, 600, 152)
    # the areas are 200 x 50 and 300 x 50
    assert ship.score == pytest.approx((0.9 * 2 + 0.6 * 3) / 5)
    assert ship.windows == (LEFT, RIGHT) and ship.cut == frozenset()


def test_without_overlap_halves_that_touch_at_the_seam_are_joined():
    next_to = (400, 0, 800, 400)
    (ship,) = merge([found((300, 50, 400, 90), LEFT), found((400, 50, 480, 90), next_to)])
    assert ship.extent == (300, 50, 480, 90)


def test_four_quarters_around_a_corner_are_one_object():
    windows = [(x, y, x + 400, y + 400) for y in (0, 400) for x in (0, 400)]
    quarters = [(350, 340, 400, 400), (400, 340, 470, 400), (350, 400, 400, 480), (400, 400, 470, 480)]
    (ship,) = merge([found(box, window) for box, window in zip(quarters, windows, strict=True)])
    assert ship.extent == (350, 340, 470, 480) and len(ship.windows) == 4


def test_an_object_over_three_windows_is_one():
    windows = [(0, 0, 400, 400), (400, 0, 800, 400), (800, 0, 1000, 400)]
    parts = [(300, 10, 400, 40), (400, 10, 800, 40), (800, 10, 900, 40)]
    (ship,) = merge([found(box, window) for box, window in zip(parts, windows, strict=True)])
    assert ship.extent == (300, 10, 900, 40)


def test_two_objects_that_only_end_near_the_same_seam_stay_two():
    # the one on the right begins inside what the windows share: it is seen whole there and is not cut
    ships = merge([found((200, 100, 395, 150), LEFT), found((330, 100, 600, 150), RIGHT)])
    assert len(ships) == 2
    # they do not agree along the seam
    assert len(merge([found((200, 100, 400, 150), LEFT), found((300, 140, 600, 300), RIGHT)])) == 2


def test_a_cut_box_in_a_whole_one_of_the_next_window_is_its_part():
    (ship,) = merge([found((320, 100, 400, 150), LEFT, 0.99), found((320, 100, 460, 150), RIGHT, 0.5)])
    assert ship.extent == (320, 100, 460, 150) and ship.score == 0.5 and ship.windows == (LEFT, RIGHT)


def test_the_same_object_in_two_windows_is_counted_once_and_the_surest_stays():
    (ship,) = merge([found((310, 10, 340, 40), LEFT, 0.5), found((312, 11, 342, 41), RIGHT, 0.8)])
    assert ship.extent == (312, 11, 342, 41) and ship.windows == (LEFT, RIGHT)


def test_small_boxes_in_coarse_numbers_are_the_same_object_where_one_lies_in_the_other():
    # 4 x 4 in 8 x 8: the intersection over union is a quarter
    assert len(merge([found((350, 50, 354, 54), LEFT), found((348, 48, 356, 56), RIGHT)])) == 1
    # in one window they are two things
    assert len(merge([found((350, 50, 354, 54), LEFT), found((348, 48, 356, 56), LEFT)])) == 2


def test_labels_and_questions_are_kept_apart():
    same = (100, 100, 200, 200)
    assert len(merge([found(same), found(same, label="plane"), found(same, question=1), found(same)])) == 3


def test_scales_are_merged_but_a_group_is_no_object():
    # the large window sees the same ship, and a group around three small ones
    large = (0, 0, 800, 800)
    small = [found((x, 10, x + 20, 30), LEFT, 0.6) for x in (10, 40, 70)]
    ships = merge([*small, found((8, 8, 92, 32), large, 0.9, scale=2.0), found((200, 200, 300, 300), LEFT),
                   found((202, 200, 302, 300), large, 0.95, scale=2.0)])  # fmt: skip
    assert [ship.scale for ship in ships] == [2.0, 1.0, 1.0, 1.0, 2.0]


def test_oriented_boxes_are_compared_as_they_lie():
    upright = [(100, 100), (200, 100), (200, 200), (100, 200)]
    diamond = [(150, 80), (220, 150), (150, 220), (80, 150)]  # 8,200 of 11,600: 0.707; of its upright box 0.51
    assert len(merge([turned(upright, LEFT), turned(diamond, LEFT)], iou=0.71)) == 2
    assert len(merge([turned(upright, LEFT), turned(diamond, LEFT)], iou=0.7)) == 1


def test_the_order_changes_nothing():
    rng = random.Random(3)
    windows = [(x, y, x + 400, y + 400) for x, y in itertools.product((0, 300, 600), repeat=2)]
    boxes = []
    for _ in range(120):
        window = rng.choice(windows)
        x, y = rng.randint(0, 380), rng.randint(0, 380)
        box = (window[0] + x, window[1] + y, min(window[0] + x + 80, window[2]), min(window[1] + y + 60, window[3]))
        boxes.append(found(box, window, rng.choice((0.5, 0.9))))
    first = merge(boxes)
    for _ in range(5):
        rng.shuffle(boxes)
        assert merge(boxes) == first


def test_nothing_is_nothing():
    assert merge([]) == []
