"""How the documentation is built: pages of MyST, a gallery that runs the examples, and the docstrings.

Nothing is fetched: MathJax comes with a package and is copied into the pages, fonts with the theme, and no other
project's index is looked up, so that pages build and read without a network.
"""

from __future__ import annotations

import re
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

import fastrecover

sys.path.insert(0, str(Path(__file__).parent))  # for gallery.py

MISSING = [name for name in ("torch", "jax", "onnxruntime") if find_spec(name) is None]
NEEDS = {"torch_module": "torch", "extract_torch": "torch", "extract_onnx": "onnxruntime", "jax_sets": "jax"}
# Programs of several processes, and those whose package is missing.
SHOWN = [
    "dask_cluster",
    "gather_mpi",
    "gather_torch",
    "gather_ray",
    *(name for name in NEEDS if NEEDS[name] in MISSING),
]

project = "fastrecover"
author = "fastrecover developers"
project_copyright = "fastrecover developers, BSD-3-Clause"
version = release = fastrecover.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx-mathjax-offline",
    "sphinx_argparse_cli",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "auto_examples/*.ipynb", "auto_examples/*.md5"]
templates_path = ["_templates"]
default_role = "code"

# Tables of options and links in the pages; numbers of equations are those of the whole documentation.
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
math_eqref_format = "({number})"

# Types stand in the docstrings, where they have shapes.
autodoc_typehints = "none"
autodoc_member_order = "bysource"
autosummary_generate = True
numpydoc_show_class_members = False
autodoc_mock_imports = MISSING

# What docstrings name for those who read the source, and what has no page of its own.
nitpick_ignore = [
    ("py:attr", "classes"),
    ("py:attr", "feature_names"),
    ("py:func", "align"),
    ("py:func", "default_output_weights"),
    ("py:func", "fastrecover.plotting.plot"),
    ("py:func", "fastrecover.prediction.predict"),
    ("py:func", "fastrecover.tensors.multi_indices"),
    ("py:func", "rebuilt"),
    ("py:meth", "Network.finished"),
    # The reference's tables take sentences out of their classes and modules.
    ("py:func", "get_activation"),
    ("py:func", "third"),
    ("py:meth", "from_functions"),
]

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    # What needs a package that may be missing is shown everywhere and run where that is.
    "filename_pattern": rf"^(?!.*/({'|'.join(SHOWN)})\.py).*\.py$",
    "image_scrapers": ("gallery.pictures",),
    "reset_argv": "gallery.arguments",
    "within_subsection_order": "gallery.Order",
    "download_all_examples": False,
    "default_thumb_file": str(Path(__file__).parent / "_static" / "program.svg"),
    "show_memory": False,
    "show_signature": False,
    "write_computation_times": False,
    "min_reported_time": 1e9,
    "plot_gallery": True,
    "abort_on_example_error": True,
    "only_warn_on_example_error": False,
}

html_theme = "pydata_sphinx_theme"
html_title = "fastrecover"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "navbar_end": ["theme-switcher"],
    "navbar_align": "left",
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "show_prev_next": True,
}


def with_raised_dots(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """``w . x`` as ``w · x`` in formulas, where a table of the reference would take the dot for a sentence's end."""
    lines[:] = re.sub(r"``.*?``", lambda code: code[0].replace(" . ", " · "), "\n".join(lines), flags=re.DOTALL).split(
        "\n"
    )


def is_not_ours(app: Sphinx, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:
    """Leave out what scikit-learn gives to every estimator, and explains at home."""
    function = getattr(obj, "func", obj)
    return True if str(getattr(function, "__module__", "")).startswith("sklearn.") else None


def setup(app: Sphinx) -> None:
    """Listen to Sphinx."""
    app.connect("autodoc-process-docstring", with_raised_dots)
    app.connect("autodoc-skip-member", is_not_ours)
