"""Reports: figure 2 of the paper for any run, and a page that tells what was trained and how well."""

from freqprop_lab.report._figure import draw_figure
from freqprop_lab.report._libraries import MissingExtraError
from freqprop_lab.report._page import write_report

__all__ = ["MissingExtraError", "draw_figure", "write_report"]
