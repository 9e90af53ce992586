"""Scores and predictions for readers: a self-contained HTML page, Markdown, LaTeX; and two results compared."""

from skyeye.eval.report.compare import comparison, comparison_markdown, not_alike
from skyeye.eval.report.page import Predictions, report
from skyeye.eval.report.to_latex import latex
from skyeye.eval.report.to_markdown import markdown

__all__ = ["Predictions", "comparison", "comparison_markdown", "latex", "markdown", "not_alike", "report"]
