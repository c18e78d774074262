"""Reports: figure 2 of the paper for any run, and a page that tells what was trained and how well."""

from freqprop_lab.report._advice import draw_advice
from freqprop_lab.report._demodulated import Model, draw_demodulated, shape_left
from freqprop_lab.report._figure import draw_figure
from freqprop_lab.report._frame import html_page, html_picture, html_table, write_aside
from freqprop_lab.report._libraries import MissingExtraError, require_libraries
from freqprop_lab.report._page import write_report
from freqprop_lab.report._quantities import Scale, flag_words, scale_of
from freqprop_lab.report._record import draw_record
from freqprop_lab.report._wiring import draw_wiring

__all__ = [
    "MissingExtraError",
    "Model",
    "Scale",
    "draw_advice",
    "draw_demodulated",
    "draw_figure",
    "draw_record",
    "draw_wiring",
    "flag_words",
    "html_page",
    "html_picture",
    "html_table",
    "require_libraries",
    "scale_of",
    "shape_left",
    "write_aside",
    "write_report",
]
