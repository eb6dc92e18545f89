"""Builds the pages of this directory into a site (`make docs`). docs/adr/0023 has the reasons for these tools."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))

from perago import __version__

project = "Perago"
author = "The Perago authors"
copyright = author  # noqa: A001 - the name is Sphinx's
release = version = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_click",
    "command_examples",
    "error_facts",
    "plain_docstrings",
    "settings_reference",
]
exclude_patterns = ["_extensions", "_static"]

myst_enable_extensions = ["attrs_inline", "colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
napoleon_custom_sections = [("Attributes", "params_style")]
smartquotes = False  # `--json` stays what is typed
python_maximum_signature_line_length = 80
python_use_unqualified_type_names = True
add_module_names = False
toc_object_entries_show_parents = "hide"

html_theme = "furo"
html_title = f"Perago {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
templates_path: list[str] = []
pygments_style = "friendly"
pygments_dark_style = "monokai"

linkcheck_timeout = 20
linkcheck_retries = 2
linkcheck_ignore = [r"https?://(127\.0\.0\.1|localhost|[\w.]*\bexample)\b"]
