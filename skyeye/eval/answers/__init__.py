"""Answers that another program wrote: its file is read, its ids are joined with records, its boxes are rewritten."""

from skyeye.eval.answers.match import Matched, match
from skyeye.eval.answers.read import Prediction, convert_boxes, read_predictions

__all__ = ["Matched", "Prediction", "convert_boxes", "match", "read_predictions"]
