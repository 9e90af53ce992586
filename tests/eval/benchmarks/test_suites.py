import json
from collections import Counter

import pytest

from skyeye.cli import main
from skyeye.errors import SkyEyeError
from skyeye.eval.benchmarks import BENCHMARKS, SUITES, chosen_benchmarks, describe, select
from skyeye.eval.benchmarks.paper import CAPTIONS, GROUNDING, VQA
from skyeye.eval.benchmarks.suites import available, suite_members

PUBLISHED = [
    *("rsicd.caption", "ucm.caption", "sydney.caption", "nwpu.caption", "rsitmd.caption", "capera.caption"),
    *("rsvqa_lr", "rsvqa_hr.test1", "rsvqa_hr.test2", "rsivqa", "era.vqa"),
    *("rsvg.val", "rsvg.test", "dior_rsvg.test", "rsvg_hr.test", "rspg", "rspg.boxes", "dior.identify"),
    *("aid.scene", "nwpu.scene", "ucmerced.scene", "eurosat.scene", "whu_rs19.scene"),
]
#: What the field reports on since 2024, and how many of each.
FIELD = {"vrsbench": 3, "choices": 4, "vhm_eval": 23, "rsieval": 2, "objects": 6, "changes": 3, "uavbench": 11}
OF_FIELD = [name for suite in FIELD for name in SUITES[suite]]
COMPARED = [
    *("rsicd.retrieval", "rsitmd.retrieval", "ucm.retrieval", "sydney.retrieval"),
    *("aid.zero_shot", "nwpu.zero_shot", "ucmerced.zero_shot", "eurosat.zero_shot", "whu_rs19.zero_shot"),
]


def names(*words):
    return [benchmark.name for benchmark in select(words)]


def test_every_benchmark_is_there_once():
    assert all(name == benchmark.name for name, benchmark in BENCHMARKS.items())
    made = [n for n in BENCHMARKS if n.startswith("synth.")] + ["vehicles.refer", "dota.refer"]
    assert sorted(BENCHMARKS) == sorted(PUBLISHED + COMPARED + made + OF_FIELD) and len(made) == 9
    assert {suite: len(SUITES[suite]) for suite in FIELD} == FIELD
    # what is made here is asked in the reader's own words; the published sets in one fixed wording
    assert {name for name, benchmark in BENCHMARKS.items() if benchmark.prompt is None} == {*made, *COMPARED}
    assert {name for name, benchmark in BENCHMARKS.items() if benchmark.output == "embedding"} == set(COMPARED)


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("rsvqa_lr", "rsvqa_lr"),
        ("RSVQA-LR", "rsvqa_lr"),
        ("rsvqa lr", "rsvqa_lr"),
        ("rsvqa_hr", "rsvqa_hr.test1"),
        ("RSVQA-HR-test-2", "rsvqa_hr.test2"),
        ("RSICD", "rsicd.caption"),
        ("UCM-captions", "ucm.caption"),
        ("Sydney-captions", "sydney.caption"),
        ("CapERA", "capera.caption"),
        ("RSVG-test", "rsvg.test"),
        ("rsvg test", "rsvg.test"),
        ("DIOR-RSVG", "dior_rsvg.test"),
        ("AID", "aid.scene"),
        ("UC Merced land use", "ucmerced.scene"),
    ],
)
def test_other_names(word, name):
    assert names(word) == [name]


def test_patterns_and_suites():
    assert names("rsvqa_lr", "synth.refer", "RSVQA-LR") == ["rsvqa_lr", "synth.refer"]
    assert names("synth.*") == names("synth") == [n for n in BENCHMARKS if n.startswith("synth.")]
    assert names("RSVG.*") == ["rsvg.val", "rsvg.test"]
    assert names("*.scene", "aid.scene") == ["synth.scene", *SUITES["scenes"]]
    assert names("VRSBench") == list(SUITES["vrsbench"]) and names("vhm.*") == list(SUITES["vhm_eval"])
    assert names("all") == list(BENCHMARKS)
    assert names("Paper") == list(SUITES["paper"])
    kinds = ["all", "captions", "grounding", "paper", "retrieval", "scenes", "synth", "vqa", "zero_shot"]
    assert sorted(SUITES) == sorted([*kinds, *FIELD])
    # every published benchmark is in one list by kind
    kinds = [name for suite in ("captions", "vqa", "grounding", "scenes") for name in SUITES[suite]]
    assert Counter(kinds) == Counter([*PUBLISHED, "vehicles.refer", "dota.refer"])


def test_the_suite_of_the_paper_is_what_its_tables_hold():
    own = (CAPTIONS, GROUNDING, VQA)
    assert set(SUITES["paper"]) == {name for name, b in BENCHMARKS.items() if b.quoted and b.quoted[0] in own}
    assert len(SUITES["paper"]) == 4 + 3 + 3


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("synth.reffer", "did you mean 'synth.refer'"),
        ("rsikd", "did you mean 'rsicd'"),
        ("moon.*", "known: synth.scene"),
        ("", "known: synth.scene"),
        ("RSVG", "'RSVG' names 2 benchmarks.*say which: rsvg.val, rsvg.test"),
        ("rsvqa", "'rsvqa' names 3 benchmarks.*rsvqa_lr, rsvqa_hr.test1, rsvqa_hr.test2"),
        ("UCM", "ucm.caption, ucmerced.scene"),
        ("NWPU", "nwpu.caption, nwpu.scene"),
    ],
)
def test_names_that_do_not_tell(word, said):
    with pytest.raises(SkyEyeError, match=said):
        select([word])


def test_nothing_named():
    with pytest.raises(SkyEyeError, match="no benchmark is named"):
        select([])
    with pytest.raises(SkyEyeError, match="unknown suite 'papers'.*did you mean 'paper'"):
        suite_members("papers")


def test_other_names_hide_no_benchmark_and_no_suite():
    """Each benchmark is reached by its own name without signs, each suite by its."""
    for name in BENCHMARKS:
        assert names(name.replace(".", " ").replace("_", "-").upper()) == [name]
    for suite in SUITES:
        assert names(suite) == list(SUITES[suite])


def test_a_suite_leaves_out_what_is_not_there(tmp_path, write, write_images):
    captions = {"images": [{"filename": "1.tif", "split": "test", "sentences": [{"raw": "a field"}]}]}
    write(tmp_path / "UCM_captions/dataset.json", captions)
    write(tmp_path / "Sydney_captions/dataset.json", captions)
    write_images(tmp_path, "UCM_captions/imgs/1.tif")
    chosen, skipped = chosen_benchmarks([], "captions", tmp_path)
    assert [benchmark.name for benchmark in chosen] == ["ucm.caption"]
    assert [*skipped, "ucm.caption"] == [n for n in SUITES["captions"] if n != "ucm.caption"] + ["ucm.caption"]
    assert "dataset_rsicd" in skipped["rsicd.caption"]
    assert "none of 1 records has its image" in skipped["sydney.caption"]
    assert available(BENCHMARKS["ucm.caption"], tmp_path) is None
    # what was named stays: that it is not there is an error, not a remark
    chosen, skipped = chosen_benchmarks(["RSICD", "ucm.caption"], "captions", tmp_path)
    assert [benchmark.name for benchmark in chosen] == ["rsicd.caption", "ucm.caption"]
    assert "rsicd.caption" not in skipped
    assert chosen_benchmarks(["RSICD"], None, tmp_path) == ([BENCHMARKS["rsicd.caption"]], {})
    with pytest.raises(SkyEyeError, match="no benchmark of suite vqa has its data here; the first: .*LR_split_test"):
        chosen_benchmarks([], "vqa", tmp_path)
    with pytest.raises(SkyEyeError, match="no benchmark is named"):
        chosen_benchmarks([], None, tmp_path)


def test_what_a_list_says():
    rows = json.loads(json.dumps([describe(benchmark) for benchmark in BENCHMARKS.values()]))
    assert all(row["looked_for"] and row["ids"] and row["metric"] and row["title"] for row in rows)
    row = next(row for row in rows if row["name"] == "rsvqa_hr.test2")
    assert row["suites"] == ["paper", "vqa", "all"] and row["published"]["records"] == 105_647
    assert row["looked_for"] == ["USGS_split_test_phili_questions.json"] and row["prompt"] == "{question}"
    assert row["also"] == ["RSVQA-HR-test-2", "RSVQA-HR-phili"]  # RSVQA alone names three
    assert not any("{split}" in place for row in rows for place in row["looked_for"])


def test_the_details_of_a_benchmark_are_printed(capsys):
    assert main(["eval", "list", "RSVQA-LR"]) == 0
    said = capsys.readouterr().out
    words = (
        "rsvqa_lr: RSVQA-LR (test)",
        "RSVQA-LR-test",
        "asked:       {question}",
        "at most 20 new tokens",
        "exact match",
    )
    words += (
        "LR_split_test_questions.json",
        "id of the question in the file",
        "10,004",
        "big_vision",
        "paper, vqa, all",
    )
    for told in words:
        assert told in said, told
    assert main(["eval", "list", "synth.scene"]) == 0
    said = capsys.readouterr().out
    assert "the question of the record" in said and "rsvqa" not in said
    assert main(["eval", "list", "rsvg.*"]) == 0
    assert {"rsvg.val:", "rsvg.test:"} < set(capsys.readouterr().out.split())
    assert main(["eval", "list", "rsikd"]) == 2


def test_the_list_says_what_the_data_on_disk_can_run(tmp_path, write, write_images, capsys):
    captions = {"images": [{"filename": "1.tif", "split": "test", "sentences": [{"raw": "a field"}]}]}
    write(tmp_path / "UCM_captions/dataset.json", captions)
    write_images(tmp_path, "UCM_captions/imgs/1.tif")
    assert main(["eval", "list", "--data-root", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    here = {line.split()[1]: line.split()[0] for line in said.splitlines()[1 : len(BENCHMARKS) + 1]}
    runs = [name for name, told in here.items() if told == "yes"]
    assert here.keys() == BENCHMARKS.keys() and runs == ["ucm.caption", "ucm.retrieval"]
    assert f"2 of {len(BENCHMARKS)} have their data in {tmp_path}" in said
    assert main(["eval", "list", "rsvqa_lr", "--data-root", str(tmp_path)]) == 0
    assert "here:        no: nothing here is named LR_split_test_questions.json" in capsys.readouterr().out


def test_a_list_of_one_as_json(tmp_path):
    assert main(["eval", "list", "RSVQA-LR", "--json", str(tmp_path / "list.json")]) == 0
    assert [row["name"] for row in json.loads((tmp_path / "list.json").read_text())] == ["rsvqa_lr"]
