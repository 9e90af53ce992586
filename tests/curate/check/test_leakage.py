from hypothesis import given
from hypothesis import strategies as st

from skyeye.curate.check.images import Seen
from skyeye.curate.check.leakage import NAME, PIXELS, SAME, SIMILAR, Sides

SPLIT = st.sampled_from(["train", "val", "test"])


@st.composite
def shown(draw):
    """Images that records of some splits show, and what they look like: few values, so that they meet."""
    count = draw(st.integers(1, 8))
    base = draw(st.lists(st.integers(0, 2**64 - 1), min_size=2, max_size=2))
    images = []
    for _ in range(count):
        looks = draw(st.sampled_from(base)) ^ sum(1 << bit for bit in draw(st.sets(st.integers(0, 63), max_size=5)))
        seen = Seen((9, 9), None, draw(st.integers(0, 5)), draw(st.sampled_from([looks, None])))
        images.append((seen, draw(st.sets(SPLIT, min_size=1))))
    return images


@given(shown(), st.integers(0, 8))
def test_the_leaks_are_those_of_comparing_every_two(images, threshold):
    sides = Sides()
    splits_of_record, image_of_record = [], []
    for number, (_, splits) in enumerate(images):
        for split in sorted(splits):
            sides.add(len(splits_of_record), [f"{number}.png"], split, 0)
            splits_of_record.append(split)
            image_of_record.append(number)
    expected = {}
    for number, (seen, splits) in enumerate(images):
        if splits & {"val", "test"}:
            trained = [other for other, (_, sides_of) in enumerate(images) if "train" in sides_of and other != number]
            if "train" in splits:
                expected[number] = (SAME, {number}, None)
            elif copies := {other for other in trained if images[other][0].pixels == seen.pixels}:
                expected[number] = (PIXELS, copies, None)
            elif seen.looks is not None:
                bits = {
                    other: (images[other][0].looks ^ seen.looks).bit_count()
                    for other in trained
                    if images[other][0].looks is not None
                }
                if bits and (least := min(bits.values())) <= threshold:
                    expected[number] = (SIMILAR, {other for other in bits if bits[other] == least}, least)
    found = list(sides.leaks([seen for seen, _ in images], threshold))
    assert len(found) == len(expected)
    for kind, record, trained, what in found:
        wanted, partners, bits = expected[image_of_record[record]]
        assert kind == wanted and image_of_record[trained] in partners
        assert splits_of_record[record] in ("val", "test") and splits_of_record[trained] == "train"
        assert bits is None or f"({bits} of 64 bits differ)" in what


def test_names_are_compared_within_a_source_only():
    sides = Sides()
    for record, (image, split, source) in enumerate(
        [("a/train/P1.png", "train", 0), ("a/test/p1.jpg", "test", 0), ("b/P1.png", "val", 1), ("a/x.png", "test", 0)]
    ):
        sides.add(record, [image], split, source)
    unseen = [Seen((9, 9))] * 4
    assert [(kind, record, trained) for kind, record, trained, _ in sides.leaks(unseen)] == [(NAME, 1, 0)]


def test_which_records_show_an_image():
    sides = Sides()
    for record, images in enumerate([["a", "b"], ["b"], ["c", "a"], []]):
        sides.add(record, images, "train", 0)
    records, images = sides.records_showing([0, 2])
    assert records.tolist() == [0, 2] and images.tolist() == [0, 2]
    assert sides.images_of(1, 3).tolist() == [0, 1, 2]
    assert sides.images_of(1, 2).tolist() == [1] and sides.images_of(3, 4).tolist() == []


def test_copies():
    sides = Sides()
    sides.add(0, ["a", "b", "c", "d"], "train", 0)
    seen = [Seen(pixels=1), Seen(pixels=2), Seen(pixels=1), Seen(error="broken")]
    assert list(sides.copies(seen)) == [(2, "c has the pixels of a")]


def test_the_first_records_are_named_and_the_test_split_before_val():
    sides = Sides()
    for record, split in enumerate(["train", "val", "test", "train", "test"]):
        sides.add(record, ["a"], split, 0)
    assert [(kind, record, trained) for kind, record, trained, _ in sides.leaks([Seen()])] == [(SAME, 2, 0)]


def test_equal_hashes_of_different_pixels_look_alike():
    sides = Sides()
    sides.add(0, ["a"], "train", 0)
    sides.add(1, ["b"], "val", 0)
    ((kind, *_, what),) = sides.leaks([Seen(pixels=1, looks=77), Seen(pixels=2, looks=77)])
    assert kind == SIMILAR and "(0 of 64 bits differ)" in what
