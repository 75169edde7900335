# SPDX-License-Identifier: GPL-3.0-or-later
"""The site, for Sphinx: generate.py has made its sources; scripts/docs builds it."""

from __future__ import annotations

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import yaml
from lexer import ConsoleLexer
from narrow import Translator
from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx

_PROJECT = Path(__file__).resolve().parents[2]
_GALAXY = yaml.safe_load((_PROJECT / "galaxy.yml").read_text(encoding="utf-8"))

project = "katran.fleet"
author = "the katran.fleet authors"
project_copyright = author
version = release = str(_GALAXY["version"])

extensions = ["myst_parser", "sphinx_copybutton", "sphinx_antsibull_ext"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
root_doc = "index"
nitpicky = True
# The same words in the same minute of the same sources: a build is not to differ from the one before.
html_last_updated_fmt = None
highlight_language = "none"

myst_enable_extensions = ["attrs_inline", "tasklist"]
myst_heading_anchors = 4
suppress_warnings = ["myst.header"]

copybutton_prompt_text = r"\$ |[a-z]+[0-9]*# "
copybutton_prompt_is_regexp = True
copybutton_line_continuation_character = "\\"

html_theme = "furo"
html_title = f"katran.fleet {version}"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_favicon = html_logo = "static/mark.svg"
html_show_sourcelink = False
html_copy_source = False
html_show_sphinx = False
html_theme_options = {
    "light_css_variables": {
        "color-brand-primary": "#0b5c8a",
        "color-brand-content": "#0b5c8a",
        "font-stack": "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', 'DejaVu Sans', sans-serif",
        "font-stack--monospace": "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace",
    },
    "dark_css_variables": {"color-brand-primary": "#6cc0ee", "color-brand-content": "#6cc0ee"},
    "footer_icons": [],
    "top_of_page_buttons": [],
}
pygments_style = "friendly"
pygments_dark_style = "github-dark"


def _without_comments(_app: object, _doc: str, source: list[str]) -> None:
    """What steers tests and licences is nothing for the reader."""
    source[0] = re.sub(r"<!--.*?-->\n?", lambda found: "\n" * found[0].count("\n"), source[0], flags=re.DOTALL)


def setup(app: Sphinx) -> None:
    """What Sphinx asks of a configuration."""
    app.add_lexer("console", ConsoleLexer)
    app.add_lexer("csv", TextLexer)
    app.set_translator("html", Translator)
    app.connect("source-read", _without_comments)
