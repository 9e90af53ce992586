import json

import pytest

from skyeye.errors import SkyEyeError


def write(folder, images, annotations, name="set.json"):
    categories = [{"id": 1, "name": "storage_tank"}, {"id": 5, "name": "ship"}, {"id": "x"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / name).write_text(json.dumps(content))
    return folder / name


IMAGE = {"id": 3, "file_name": "1.jpg", "width": 200, "height": 100}


def box(numbers, category=5, image=3, **more):
    return {"image_id": image, "category_id": category, "bbox": numbers, **more}


def test_pixels_become_fractions(tmp_path, write_images, read):
    write_images(tmp_path, "1.jpg", size=(200, 100))
    path = write(tmp_path, [IMAGE], [box([20, 10, 40, 50]), box([100, 20, 50, 30], 1)], "set_val.json")
    records, skipped = read("coco", path)
    assert not skipped
    refer = [(r.references["phrase"], r.turns[0].answer) for r in records if r.task == "refer"]
    assert refer == [("the ship", "{<10><10><30><60>}"), ("the storage tank", "{<50><20><75><50>}")]
    assert {r.split for r in records} == {"val"}


def test_what_does_not_fit_is_told(tmp_path, write_images, read):
    write_images(tmp_path, "1.jpg", "2.jpg", size=(200, 100))
    bad = [None, "abcd", [1, 2, 3], [1, 2, 3, "x"], [1, 2, 3, 10**400], [1, 2, 3, float("nan")], [{}, 1, 1, 1]]
    images = [IMAGE, {**IMAGE, "id": 4, "file_name": "9.jpg"}, {"id": 5}, "x", {**IMAGE, "id": 7, "width": 0}]
    images += [{**IMAGE, "id": 6, "file_name": "2.jpg"}]
    annotations = [box(numbers) for numbers in bad]
    annotations += [box([1, 2, 3, 4], category) for category in (9, None, [1])]
    annotations += [box([10, 10, -40, 50]), box([190, 10, 100, 10]), box([1, 1, 2, 2]), box([0, 0, 99, 99], iscrowd=1)]
    annotations += [box([0, 0, 99, 99], image=99), box([0, 0, 99, 99], image=None), 7]
    annotations += [box([n * 20, 10, 15, 15], category, image=6) for n in range(10) for category in (1, 5)]
    records, skipped = read("coco", write(tmp_path, images, annotations))
    assert skipped == {
        "malformed box": 7,
        "unknown class": 3,
        "inverted box": 1,
        "box outside the image": 1,
        "too small": 1,
        "difficult": 1,
        "not a record": 6,
        "missing image": 1,
    }
    assert sum(r.task == "identify" for r in records) == 20


def test_a_file_of_another_format(tmp_path, read):
    (tmp_path / "x.json").write_text('{"images": []}')
    with pytest.raises(SkyEyeError, match="has no list `annotations`"):
        read("coco", tmp_path / "x.json")


@pytest.mark.parametrize("form", [str, float])
def test_numbers_as_other_programs_write_them(tmp_path, write_images, items, form):
    """Tables give floats, databases texts; what is meant is the same."""
    write_images(tmp_path, "1.jpg", size=(200, 100))
    image = {"id": form(3), "file_name": "1.jpg", "width": form(200), "height": form(100)}
    path = write(tmp_path, [image], [box([20, 10, 40, 50], category=form(5), image=form(3))])
    records, skipped = items("coco", path)
    assert not skipped and {r.id.split(":")[0] for r in records} == {"3"}
    assert {r.regions[0].phrase for r in records} == {"ship"}
    assert items("coco", write(tmp_path, [IMAGE], [box([20, 10, 40, 50])]))[0] == records


def test_files_that_were_put_together(tmp_path, write_images, items):
    """Two files that both count from 1: their boxes and classes cannot be told apart any more."""
    write_images(tmp_path, "1.jpg", "2.jpg", size=(200, 100))
    images = [IMAGE, {**IMAGE, "file_name": "2.jpg"}]
    records, skipped = items("coco", write(tmp_path, images, [box([20, 10, 40, 50]), box([90, 10, 40, 50])]))
    assert not records and skipped == {"duplicate id": 3}
    records, skipped = items("coco", write(tmp_path, [IMAGE, IMAGE], [box([20, 10, 40, 50])]))
    assert records and not skipped  # the same picture twice says nothing else
    path = write(tmp_path, [IMAGE], [])
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "categories": [{"id": 1, "name": "ship"}, {"id": 1, "name": "car"}]}))
    with pytest.raises(SkyEyeError, match="gives the id 1 to the categories car and ship"):
        items("coco", path)
