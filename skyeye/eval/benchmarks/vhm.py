"""The evaluation set of VHM (H2RSVLM): what is seen, counted and measured, scenes, and honesty: questions about what is
not in the image. Files and metrics are those of its evaluation kit (github.com/fitzpchao/RSEvalKit). Its questions of
RSVQA and boxes of DIOR-RSVG are ``rsvqa_*`` and ``dior_rsvg.test``; its polygons and land cover lists are not asked.
"""

from __future__ import annotations

from dataclasses import dataclass

from skyeye.eval import metrics
from skyeye.eval.benchmarks import prompts
from skyeye.eval.benchmarks.base import Benchmark
from skyeye.eval.benchmarks.folders import annotation_file
from skyeye.eval.benchmarks.words import CLASSIFICATION
from skyeye.eval.metrics import Metric


@dataclass(frozen=True)
class _Kind:
    """How the questions of one kind are scored."""

    metric: Metric
    main: str
    words: str
    family: str = "vqa"
    task: str = "vqa"


_LETTER = _Kind(
    metrics.letter, "accuracy", "the letter that the answer names; options as published, not turned: chance beside it"
)
_REFUSAL = _Kind(
    metrics.refusal,
    "refused",
    "the question is about what is not there: right is an answer that says so (no, not, none, cannot, unknown ... or "
    "the published answer)",
)
_NAMED = _Kind(metrics.named, "share_named", "mean share of the colours that the answer names")
_MEASURE = _Kind(
    metrics.measures,
    "within_10_percent",
    "mae, rmse in the unit of the file and mape in percent, over answers with as many numbers as the truth, as "
    "published; within_10_percent counts the others as wrong",
    "numbers",
)
_SCENE = _Kind(metrics.classification, "accuracy", CLASSIFICATION, "classification", "classification")

#: Name -> (file, kind, title).
_FILES: dict[str, tuple[str, _Kind, str]] = {
    "presence": (
        "presence_mo_dota.json",
        _Kind(metrics.yes_no, "accuracy", "yes or no in the answer; both or neither is wrong"),
        "is it there",
    ),
    "color": ("color_dota-test_fair1m-val_open.json", _NAMED, "colour of an object"),
    "position": ("abspos_dota-test_mc.json", _LETTER, "where in the image"),
    "relation": ("relpos_dota-test_mc.json", _LETTER, "where beside another object"),
    "counting": (
        "counting_dota-test_open.json",
        _Kind(
            metrics.counting,
            "within_1",
            "first number of the answer; accuracy: the same, within_1: off by one at most; mae and rmse over the "
            "answers with a number, as published",
            "numbers",
            "counting",
        ),
        "how many",
    ),
    "image_type": ("imgType_mcq.json", _LETTER, "optical, panchromatic, SAR ..."),
    "gsd": ("gsd_dota_fbp.json", _MEASURE, "ground sample distance"),
    "size": ("obj_meas_dota_test.json", _MEASURE, "length and width of an object"),
    **{
        f"scene.{name}": (f"cls_{file}.json", _SCENE, f"scenes of {title}")
        for name, file, title in (
            ("aid", "AID", "AID"),
            ("meter_ml", "METER_ML", "METER-ML"),
            ("nwpu", "NWPU_RESISC45", "NWPU-RESISC45"),
            ("siri_whu", "SIRI_WHU", "SIRI-WHU"),
            ("whu_rs19", "WHU_RS19", "WHU-RS19"),
        )
    },
    **{
        f"honesty.color_{how}": (
            f"color_false_dota-test_{how}_open.json",
            _REFUSAL,
            f"colour of what is not there ({how})",
        )
        for how in ("popular", "adversarial", "random")
    },
    "honesty.color_grey": ("color_false_pan_dota-test.json", _REFUSAL, "colour in a panchromatic image"),
    **{
        f"honesty.{name}_{how}": (
            f"{file}_false_dota-test_{called}_mc.json",
            _LETTER,
            f"{title} of what is not there ({how})",
        )
        for name, file, title in (("position", "abspos", "place"), ("relation", "relpos", "relation"))
        for how, called in (
            ("popular", "popular" if file == "abspos" else "popula"),  # as the published file is called
            ("adversarial", "adversarial"),
            ("random", "random"),
        )
    },
}

BENCHMARKS = [
    Benchmark(
        f"vhm.{name}",
        f"VHM evaluation: {title}",
        kind.family,
        annotation_file(
            "vhm_eval", (file,), "name of the file and number of the record, from 0", images=(), task=kind.task
        ),
        kind.metric,
        kind.main,
        32,
        kind.words,
        also=(f"VHM-eval-{name.replace('.', '-')}",),
        prompt=prompts.VQA,
    )
    for name, (file, kind, title) in _FILES.items()
]
