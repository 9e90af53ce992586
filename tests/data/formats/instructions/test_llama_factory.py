import json

import pytest
from PIL import Image

from skyeye.config.schema import SourceConfig
from skyeye.curate.detect.folder import detect_formats
from skyeye.data.formats import read_with_problems


@pytest.fixture
def folder(tmp_path):
    """A ``data`` folder with a data set of each form and three that cannot be read."""
    Image.new("RGB", (20, 10)).save(tmp_path / "a.jpg")
    said = [{"who": "me", "what": "<image>how many?"}, {"who": "it", "what": "2"}]
    talk = [{"talk": [{"who": "sys", "what": "Be brief."}, *said], "pics": ["a.jpg"]}]
    row = {"instruction": "<image>name", "input": "the thing", "output": "ship", "history": [["new?", "yes"]]}
    (tmp_path / "talk_val.json").write_text(json.dumps(talk))
    (tmp_path / "plain.jsonl").write_text(json.dumps({**row, "i": ["a.jpg"]}))
    tags = {"role_tag": "who", "content_tag": "what", "user_tag": "me", "assistant_tag": "it", "system_tag": "sys"}
    named = {"formatting": "sharegpt", "columns": {"messages": "talk", "images": "pics"}, "tags": tags}
    info = {
        "talk": {"file_name": "talk_val.json", **named},
        "plain": {"file_name": "plain.jsonl", "columns": {"images": "i", "history": "history"}},
        "hub": {"hf_hub_url": "a/b"},
        "gone": {"file_name": "gone.json"},
        "odd": {"file_name": "plain.jsonl", "columns": ["a"]},
    }
    (tmp_path / "dataset_info.json").write_text(json.dumps(info))
    return tmp_path


def test_both_forms_are_read_with_their_columns_and_tags(folder):
    records, problems = read_with_problems(SourceConfig("llama_factory", str(folder)), "lf")
    talk, plain = records
    (turn,) = talk.turns
    assert (turn.question, turn.answer, turn.system, talk.split) == ("how many?", "2", "Be brief.", "val")
    asked = [(turn.question, turn.answer) for turn in plain.turns]
    assert asked == [("new?", "yes"), ("name the thing", "ship")]
    assert {record.images for record in records} == {(str(folder / "a.jpg"),)}
    assert [problem.kind for problem in problems] == ["other data set", "missing file", "wrong value"]


def test_the_folder_is_recognised_and_its_files_are_not_read_twice(folder):
    found = detect_formats(folder)
    assert [source.format for _, source in found.sources] == ["llama_factory"] and not found.unknown
    assert detect_formats(folder / "dataset_info.json").sources[0][1].format == "llama_factory"
