"""Settings of the documentation site; docs/documentation.md describes how it is made."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import sori

project = "sori"
author = "the authors of sori"
release = version = sori.__version__
language = "en"

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "docsite.mathml",
    "docsite.links",
    "docsite.languages",
    "docsite.generated",
    "docsite.words",
    "docsite.public_names",
    "docsite.signatures",
]
exclude_patterns = ["generator", "article/interactive", "figures"]
templates_path = ["templates"]
nitpicky = True
nitpick_ignore_regex = [("py:.*", ".*")]  # types of other libraries have no page here
default_role = "code"

# Pages are plain Markdown; `$...$` is mathematics.
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4
myst_dmath_double_inline = True
nb_execution_mode = "off"  # the notebooks show a recorded run; the tests execute them
nb_merge_streams = True

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False

html_theme = "pydata_sphinx_theme"
html_title = "sori"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_context = {"default_mode": "auto"}
html_show_search_summary = False  # would be requested, which a page opened as a file cannot do
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_show_copyright = False
html_math_renderer = "mathml"
html_search_language = "en"
html_theme_options = {
    "logo": {"text": "sori"},
    "navbar_align": "left",
    "header_links_before_dropdown": 5,
    "navbar_end": ["language-switch", "theme-switcher"],
    "navbar_persistent": ["search-button"],
    "secondary_sidebar_items": ["page-toc"],
    "article_header_start": [],
    "footer_start": [],
    "footer_end": [],
    "show_prev_next": True,
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
