"""`make site`: all pages, executed, as a site that needs no network. Read by sphinx-build after stage.py."""

import os
from html import escape
from pathlib import Path

from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml

project = "d2vlm_lab"
html_title = "D2VLM, by running it"
extensions = ["myst_nb"]
root_doc = "index"
myst_enable_extensions = ["dollarmath", "amsmath"]

nb_execution_mode = os.environ.get("SITE_EXECUTION", "cache")  # a page runs again when its cells have changed
nb_execution_cache_path = str(Path(__file__).resolve().parents[1] / "site" / ".cache")
nb_execution_timeout = 900
nb_execution_excludepatterns = ["exercises/*"]  # what students write is still missing there
nb_execution_raise_on_error = True
nb_execution_show_tb = True
nb_merge_streams = True
nb_ipywidgets_js = {}  # widgets need a live kernel: their static picture is shown instead
nb_mime_priority_overrides = [("html", "application/vnd.jupyter.widget-view+json", None),
                              ("html", "text/markdown", 25)]  # before HTML: code gets the page's own colours

html_theme = "sphinx_book_theme"
html_theme_options = {"show_toc_level": 2, "home_page_in_toc": True, "use_fullscreen_button": False,
                      "navbar_persistent": [], "footer_content_items": []}
html_show_sourcelink = False
html_copy_source = True
html_static_path = ["_static"]
html_css_files = ["page.css"]
html_math_renderer = "mathml"
exclude_patterns = ["**/.ipynb_checkpoints"]
suppress_warnings = ["myst.header", "mystnb.unknown_mime_type", "toc.not_included"]

PLAIN = {r"\texttt": r"\text", r"\dots": r"\ldots"}


def mathml(self, node, block: bool) -> str:
    """A formula as MathML, which browsers draw by themselves; one that cannot be translated stays as it was typed."""
    source = node.astext()
    for command, known in PLAIN.items():
        source = source.replace(command, known)
    try:
        return tex2mathml(source, as_block=block)
    except MathError:
        return f"<code>{escape(node.astext())}</code>"


def inline(self, node):
    from docutils.nodes import SkipNode
    self.body.append(mathml(self, node, False))
    raise SkipNode


def block(self, node):
    from docutils.nodes import SkipNode
    self.body.append(f'<div class="formula">{mathml(self, node, True)}</div>')
    raise SkipNode


def keep_together(app):
    """Files between execution and page belong into the folder of the site, not beside it."""
    app.env.mystnb_config = app.env.mystnb_config.copy(output_folder=str(Path(app.outdir, ".execute")))


def setup(app):
    app.connect("builder-inited", keep_together, priority=900)
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
