import json

import pytest

from skyeye.errors import SkyEyeError


def video(name, *captions):
    return {"video_id": name, "annotation": {"English_caption": list(captions)}}


def write(folder, *videos, name="CapERA_DATASET_train.json"):
    (folder / name).write_text(json.dumps({"ERA_caption": videos}))
    return folder / name


def test_single_frames(tmp_path, write_images, read):
    write_images(tmp_path, "SingleFrames/Tra/Baseball_001.jpg", "SingleFrames/Tra/Baseball_0011.jpg")
    path = write(tmp_path, video("Baseball_001.mp4", "A field .", "Players"))
    records, skipped = read("capera", path, tmp_path / "SingleFrames")
    assert not skipped
    assert [(r.id, r.task, r.split, r.turns[0].answer) for r in records] == [
        ("0:0", "video_caption", "train", "a field"),
        ("0:1", "video_caption", "train", "players"),
    ]
    assert {r.images for r in records} == {(str(tmp_path / "SingleFrames/Tra/Baseball_001.jpg"),)}
    assert all(r.turns[0].question.startswith("[caption] ") for r in records)


def test_evaluation_asks_in_the_words_of_the_paper(tmp_path, write_images, read):
    write_images(tmp_path, "Car_1.jpg")
    (record,), _ = read("capera", write(tmp_path, video("Car_1.mp4", "A", "B"), name="CapERA_test.json"))
    assert record.turns[0].question == "[caption] briefly describe the video frame image"
    assert (record.split, record.references["captions"]) == ("test", ["A", "B"])


@pytest.mark.parametrize(
    ("names", "wanted", "numbers"),
    [
        ("v/{}.jpg", 1, [6]),
        ("v/{}.jpg", 2, [3, 9]),
        ("v/{}.jpg", 3, [2, 6, 10]),
        ("v/{}.jpg", 99, list(range(12))),
        ("V_frame{}.png", 2, [3, 9]),
        ("deep/v_{}.png", 1, [6]),
    ],
)
def test_frames_are_chosen_evenly_and_in_order(tmp_path, write_images, read, names, wanted, numbers):
    write_images(tmp_path, *(names.format(n) for n in range(12)), "vv_3.jpg")
    (record, *_), _ = read("capera", write(tmp_path, video("v.mp4", "a")), frames=wanted)
    assert record.images == tuple(str(tmp_path / names.format(n)) for n in numbers)


def test_a_frame_of_the_name_before_a_folder_of_it_before_numbered_ones(tmp_path, write_images, read):
    path = write(tmp_path, video("v.mp4", "a"))
    for name in ("v_7.jpg", "v/3.jpg", "v.jpg"):  # each wins over those before
        write_images(tmp_path, name)
        assert read("capera", path)[0][0].images == (str(tmp_path / name),)


def test_video_files_become_references_to_frames(tmp_path, read):
    (tmp_path / "Train").mkdir()
    (tmp_path / "Train/v.MP4").touch()
    (record,), _ = read("capera", write(tmp_path, video("v.mp4", "a")), frames=2, video_length=120)
    assert record.images == tuple(f"{tmp_path}/Train/v.MP4#frame={n}" for n in (30, 90))


def test_videos_of_the_other_split_have_the_same_names(tmp_path, write_images, read, items):
    for place in ("Videos/Tra/Car", "Videos/Test/Car"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "Car_1 .mp4").touch()  # sic: some of ERA have a space before the dot
    for split, place in (("train", "Tra"), ("test", "Test")):
        (record,), _ = read("capera", write(tmp_path, video("Car_1.mp4", "a"), name=f"{split}.json"), video_length=9)
        assert record.images == (f"{tmp_path}/Videos/{place}/Car/Car_1 .mp4#frame=4",)
    write_images(tmp_path, "SingleFrames/Tra/Van_1.jpg")
    path = write(tmp_path, video("Van_1.mp4", "a"), name="test.json")
    assert items("capera", path) == ([], {"missing image": 1})
    assert items("capera", path, tmp_path / "SingleFrames/Tra") == ([], {"missing image": 1})
    assert items("capera", path, keep_absent=True)[0][0].images == ("absent:Van_1.mp4",)


def test_what_does_not_fit_is_told(tmp_path, write_images, items):
    write_images(tmp_path, "a.jpg", "b/c.jpg", "d/c.jpg", "e/g/1.jpg", "f/g/1.jpg")
    (tmp_path / "h.mp4").write_bytes(b"no video")
    bad = [video("z.mp4", "1", "2"), video("c.mp4", "1"), video("g.mp4", "1"), video("h.mp4", "1"), {}, 3]
    bad += [
        {"video_id": "a"},
        {"video_id": "a", "annotation": []},
        video("a.mp4", "1", "", None),
        video("../a.mp4", "1"),
    ]
    records, skipped = items("capera", write(tmp_path, *bad))
    assert [r.id for r in records] == ["8:0", "9:0"]
    assert skipped == {
        "missing image": 2,
        "ambiguous image": 2,
        "unreadable video": 1,
        "not a record": 2,
        "no answer": 4,
    }


def test_options_and_other_files(tmp_path, read):
    with pytest.raises(SkyEyeError, match="frames 0 is no number from 1 on"):
        read("capera", write(tmp_path), frames=0)
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(SkyEyeError, match="has no list `ERA_caption`"):
        read("capera", tmp_path / "x.json")
