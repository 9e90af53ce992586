"""Answers that another program wrote: its file is read, its ids are joined with records, its boxes are rewritten."""

from skyeye.eval.predictions.files import Prediction, convert_boxes, read_predictions
from skyeye.eval.predictions.matching import Matched, match

__all__ = ["Matched", "Prediction", "convert_boxes", "match", "read_predictions"]
