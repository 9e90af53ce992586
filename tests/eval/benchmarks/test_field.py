"""The benchmarks of the field on files in their published layouts: their parts, pairs of images, tables and ids. What
every one of them scores is in `test_every_benchmark.py`."""

from collections import Counter

import pytest

from skyeye.data.formats.base.problems import Problem
from skyeye.eval.benchmarks import BENCHMARKS
from skyeye.eval.question import PROTOCOL_STYLE, asked
from skyeye.eval.score_predictions import answers_of
from tests.eval.benchmarks.field_sets import field_sets

pytest.importorskip("pyarrow")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("field")
    field_sets(folder)
    return folder


def score(name, root, answers_to):
    """Metrics of the answers that ``answers_to(records)`` gives."""
    benchmark = BENCHMARKS[name]
    records, problems = benchmark.load(root, "stop")
    assert not [problem for problem in problems if isinstance(problem, Problem) and not problem.by_rule]
    given, _ = answers_of(answers_to(records), records, benchmark, None)
    return benchmark.metric(records, given).metrics


def truths(records):
    return [PROTOCOL_STYLE.answer(record.turns[0]) for record in records]


def test_parts(root):
    refer = score("vrsbench.refer", root, lambda records: ["{<10><10><30><30>}"] * 2)
    assert (refer["accuracy@0.5/unique"], refer["accuracy@0.5/non_unique"]) == (100, 0)
    assert (refer["accuracy@0.7/unique"], refer["accuracy@0.7/non_unique"]) == (100, 0)
    vqa = score("vrsbench.vqa", root, lambda records: ["yes"] * 4)
    assert {name for name in vqa if "/" in name} == {
        f"accuracy/{k}" for k in ("presence", "quantity", "color", "scene")
    }
    lhrs = score("lhrs_bench", root, truths)
    assert {"accuracy/identity", "accuracy/quantity", "chance"} <= lhrs.keys()
    assert lhrs["chance"] == pytest.approx(100 / 3) and lhrs["circular_chance"] == pytest.approx(100 / 27)
    units = score("uavbench.img_cls", root, lambda records: ["fire"] * 3)
    assert (units["accuracy/ERA"], units["accuracy/UAV123"], units["mean_over_units"]) == (50, 0, 25)


def test_pairs_are_shown_in_order_and_the_words_say_it(root):
    records, _ = BENCHMARKS["levir_cc"].load(root)
    assert [[image.rsplit("/", 2)[1] for image in record.images] for record in records] == [["A", "B"]] * 2
    first = "[caption] The first image was taken before, the second after. Describe what has changed"
    assert asked(records[0]).startswith(first) and Counter(r.references["type"] for r in records)["changed"] == 1
    assert len(records[0].references["captions"]) == 2
    records, _ = BENCHMARKS["cdvqa.test2"].load(root)
    assert [image.rsplit("/", 2)[1] for image in records[0].images] == ["im1", "im2"]
    assert [record.references["answer"] for record in records] == ["yes", "10 to 20", "low vegetation"]
    temporal = BENCHMARKS["geobench_vlm.temporal"].load(root)[0][0]
    assert [image.rsplit("/", 1)[1] for image in temporal.images] == ["pre.png", "post.png"]
    assert "The first image was taken before" in asked(temporal)


def test_images_inside_a_table_are_decoded(root):
    records, _ = BENCHMARKS["xlrs_lite"].load(root)
    assert "train-00000-of-00001.parquet#column=image&row=0" in records[0].images[0]


def test_ids_of_rows(root):
    assert BENCHMARKS["uavbench.vg"].load(root)[0][0].id == "UAVBench:13"
    assert BENCHMARKS["vrsbench.vqa"].load(root)[0][1].references["published_id"] == "1"
    assert BENCHMARKS["xlrs_lite"].load(root)[0][0].id == "train-00000-of-00001:0:0"
