"""One function per family of tasks: (records, answers) -> :class:`Scores`; values in percent unless said otherwise.

A metric whose name holds a ``/`` is a part of the one before the stroke: ``accuracy/count`` is the accuracy of the
counting questions. What each family reads from ``Record.references`` stands in its docstring; docs/metrics.md defines
every number. Functions have the names of their modules: ``metrics.captions`` is the function.
"""

from skyeye.eval.metrics.base import LOWER_IS_BETTER, Metric, Scores, Statistic
from skyeye.eval.metrics.captions import captions, identify
from skyeye.eval.metrics.choices import choices, letters_said
from skyeye.eval.metrics.classification import classes_named, classification
from skyeye.eval.metrics.detection import detection
from skyeye.eval.metrics.grounding import phrase_grounding, refer
from skyeye.eval.metrics.iou import matched_boxes, overlap, true_boxes
from skyeye.eval.metrics.nearness import retrieval, zero_shot
from skyeye.eval.metrics.numbers import counting, measures
from skyeye.eval.metrics.phrases import letter, named, refusal, yes_no
from skyeye.eval.metrics.units import by_unit
from skyeye.eval.metrics.vqa import question_type, vqa

__all__ = [
    "LOWER_IS_BETTER",
    "Metric",
    "Scores",
    "Statistic",
    "by_unit",
    "captions",
    "choices",
    "classes_named",
    "classification",
    "counting",
    "detection",
    "identify",
    "letter",
    "letters_said",
    "matched_boxes",
    "measures",
    "named",
    "overlap",
    "phrase_grounding",
    "question_type",
    "refer",
    "refusal",
    "retrieval",
    "true_boxes",
    "vqa",
    "yes_no",
    "zero_shot",
]
