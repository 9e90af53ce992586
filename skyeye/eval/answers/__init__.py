"""Answers: kept while they are given, read from files of other programs, joined with records; boxes in their text."""

from skyeye.eval.answers.match import Matched, match
from skyeye.eval.answers.read import Prediction, read_predictions

__all__ = ["Matched", "Prediction", "match", "read_predictions"]
