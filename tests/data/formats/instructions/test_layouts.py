import json

import pytest
from PIL import Image

from skyeye.config.schema import SourceConfig
from skyeye.curate.detect.folder import detect_formats
from skyeye.data.formats import read_with_problems
from skyeye.data.geometry.boxes import Box
from skyeye.data.record import MARK, Mention


@pytest.fixture
def pictures(tmp_path):
    for name in ("a.jpg", "b.jpg"):
        Image.new("RGB", (20, 10)).save(tmp_path / name)
    return tmp_path


def test_images_inside_the_texts_of_qwen_vl(pictures):
    turns = [
        {"from": "user", "value": "Picture 1: <img>a.jpg</img>\nPicture 2: <img>dir/b.jpg</img>\nwhat is new?"},
        {"from": "assistant", "value": "<ref>a ship</ref><box>(100,200),(300,400)</box>"},
    ]
    (pictures / "q.json").write_text(json.dumps([{"id": "identity_0", "conversations": turns}]))
    records, problems = read_with_problems(SourceConfig("llava", str(pictures / "q.json")), "q")
    assert not problems
    assert records[0].images == (str(pictures / "a.jpg"), str(pictures / "b.jpg"))
    (turn,) = records[0].turns
    assert (turn.question, turn.answer) == ("what is new?", MARK)
    assert turn.mentions == (Mention((Box(0.1, 0.2, 0.3, 0.4),), "a ship"),)


@pytest.mark.parametrize("column", ["file_name", "file_names", "images_file_names"])
def test_an_image_folder_of_hugging_face(pictures, column):
    name = "a.jpg" if column == "file_name" else ["a.jpg"]
    messages = [{"role": "user", "content": "how many?"}, {"role": "assistant", "content": "2"}]
    (pictures / "val").mkdir()
    Image.new("RGB", (20, 10)).save(pictures / "val" / "a.jpg")
    (pictures / "val" / "metadata.jsonl").write_text(json.dumps({column: name, "messages": messages}))
    records, problems = read_with_problems(SourceConfig("llava", str(pictures / "val")), "hf")
    assert not problems
    assert records[0].images == (str(pictures / "val" / "a.jpg"),) and records[0].split == "val"


def test_captions_of_an_image_folder(pictures):
    (pictures / "metadata.jsonl").write_text(json.dumps({"file_name": "a.jpg", "text": "a harbour"}))
    (_, source), *more = detect_formats(pictures).sources
    records, problems = read_with_problems(source, "hf")
    assert not problems and not more
    assert (records[0].task, records[0].turns[0].answer) == ("caption", "a harbour")
    assert records[0].references == {"captions": ["a harbour"]}
