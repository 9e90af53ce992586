import pytest

from skyeye.errors import SkyEyeError
from skyeye.eval.benchmarks.folders import annotation_file, images_near, locate, located


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_the_folder_of_the_set_and_those_around_it(tmp_path):
    touch(tmp_path, "data/more/UCM_captions/dataset.json", "data/more/Sydney/dataset.json")
    for root in ("data", "data/more", "data/more/UCM_captions"):
        assert locate(tmp_path / root, ["ucm*/DATASET*.json"]) == tmp_path / "data/more/UCM_captions/dataset.json"
    assert located(tmp_path / "data/more/Sydney", ["ucm*/dataset*.json"]) is None
    assert located(tmp_path / "data", ["more"]) == tmp_path / "data/more"


def test_depth(tmp_path):
    touch(tmp_path, "1/2/3/x.json", "1/2/3/4/y.json")
    assert located(tmp_path, ["x.json"]) and located(tmp_path, ["y.json"]) is None
    assert located(tmp_path / "1", ["y.json"]) is not None


def test_the_first_pattern_wins_and_two_places_are_refused(tmp_path):
    touch(tmp_path, "a/set_full.json", "b/set_part.json", "c/set_part.json")
    assert locate(tmp_path, ["set_full.json", "set*.json"]).parent.name == "a"
    with pytest.raises(SkyEyeError, match=r"2 places fit set_part.json: .*b/set_part.json, .*c/set_part.json"):
        locate(tmp_path, ["set_part.json"])
    (tmp_path / "d").symlink_to(tmp_path / "a")  # the same file twice is one file
    assert locate(tmp_path, ["set_full.json"]).parent.name == "a"


def test_other_splits_are_named(tmp_path):
    touch(tmp_path, "x_train.json", "x_val.json", "x.json", "x_hr_test.json")
    with pytest.raises(SkyEyeError, match="nothing here is named x_test.json") as error:
        locate(tmp_path, ["x_{split}.json"], "test")
    there = error.value.what.split("of other splits there is ")[1]
    assert [word.rsplit("/", 1)[1] for word in there.split(", ")] == ["x_train.json", "x_val.json", "x.json"]
    with pytest.raises(SkyEyeError, match="nothing here is named y_test.json$"):
        try:
            locate(tmp_path, ["y_{split}.json"], "test")
        except SkyEyeError as error:
            raise SkyEyeError(error.what) from error


def test_circles_and_odd_roots(tmp_path):
    (tmp_path / "circle").symlink_to(tmp_path)
    touch(tmp_path, ".hidden/x.json", "__MACOSX/x.json")
    assert located(tmp_path, ["x.json"]) is None
    source = annotation_file("karpathy", ["x.json"], "ids")
    with pytest.raises(SkyEyeError, match="the data root is no folder"):
        source(tmp_path / "nowhere")


def test_images_beside_come_before_images_elsewhere(tmp_path):
    touch(tmp_path, "a/set.json", "a/images/1.jpg", "b/RSICD_images/1.jpg", "c/Images/1.jpg", "d/Annotations/set.json")
    touch(tmp_path, "d/images/1.jpg", "e/set.json")

    def near(place, *names):
        found = images_near(tmp_path / place / "set.json", tmp_path, names)
        return found and found.removeprefix(f"{tmp_path}/")

    assert near("a", "RSICD_images", "images") == "a/images"
    assert near("e", "images", "rsicd_images") == "b/RSICD_images"
    assert near("e", "images", "imgs", "Data") is None  # another data set's 1.jpg would be taken for ours
    assert near("d/Annotations", "images") == "d/images"
    assert near("e", "D/Images") == "d/images"
    assert images_near(tmp_path / "d/Annotations/set.json", tmp_path / "d/Annotations", ["images"]) is None
