"""How the site is made: `sphinx-build -W docs build/site`."""

project = "Keras application suite"
html_theme = "furo"
html_title = project
html_show_copyright = False

extensions = [
    "myst_parser",
    "sphinx.ext.apidoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
]
exclude_patterns = ["api/*/modules.rst"]

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

apidoc_modules = [
    {
        "path": f"../{package}",
        "destination": f"api/{package}",
        "separate_modules": True,
        "module_first": True,
    }
    for package in ("suite", "apps")
]
autodoc_default_options = {"ignore-module-all": True}  # what a package passes on stands once
autodoc_inherit_docstrings = False
autodoc_member_order = "bysource"
autodoc_typehints = "description"
default_role = "code"
napoleon_custom_sections = ["Reference"]
