"""Sphinx: the docs are Markdown (MyST), the theme is furo."""

project = "freqprop-lab"
author = "The freqprop-lab developers"
extensions = ["myst_parser"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "freqprop-lab"
