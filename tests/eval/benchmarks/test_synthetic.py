from collections import Counter

import pytest

from skyeye.errors import SkyEyeError
from skyeye.eval.benchmarks import BENCHMARKS
from skyeye.eval.benchmarks.synthetic import scenes_folder
from skyeye.eval.metrics import question_type
from skyeye.eval.results import NOT_METRICS
from skyeye.eval.score_predictions import answers_of


@pytest.mark.parametrize("name", [n for n in BENCHMARKS if n.startswith("synth.")])
def test_truths_score_full_marks(world, written, name, without_java):
    benchmark = BENCHMARKS[name]
    records, problems = benchmark.load(world)
    assert not problems and len({record.id for record in records}) == len(records)
    assert all(record.split == "test" for record in records)
    truths = [written(record).turns[0].answer for record in records]
    scores = benchmark.metric(records, answers_of(truths, records, benchmark, None)[0])
    assert benchmark.main_metric in scores.metrics and not NOT_METRICS & set(scores.metrics)
    assert scores.metrics[benchmark.main_metric] > 99
    if benchmark.chosen:
        assert all(benchmark.chosen(record) is not None for record in records)


def test_what_is_asked(world):
    types = Counter(question_type(record) for record in BENCHMARKS["synth.vqa"].load(world)[0])
    assert set(types) == {"presence", "count", "comparison", "rural_urban"}
    assert all(len(record.images) > 1 for record in BENCHMARKS["synth.frames"].load(world)[0])
    assert all(len(record.references["captions"]) == 5 for record in BENCHMARKS["synth.caption"].load(world)[0])


def test_the_world_or_the_folder_around_it(tmp_path, world):
    with pytest.raises(SkyEyeError, match="holds no synthetic scenes .*skyeye data synth"):
        scenes_folder(tmp_path)
    (tmp_path / "one").symlink_to(world)
    assert scenes_folder(tmp_path) == tmp_path / "one" and scenes_folder(world) == world
    (tmp_path / "two").symlink_to(world)
    with pytest.raises(SkyEyeError, match="holds 2 folders of synthetic scenes: one, two"):
        scenes_folder(tmp_path)
