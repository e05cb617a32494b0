"""Renders pages, and finds the files that they name."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import cache
from importlib.resources import files
from typing import NamedTuple

import jinja2

from proxy.ui.figures import FILTERS

# What is not listed here is not served.
STATIC: Mapping[str, str] = {
    "console.css": "text/css",
    "console.js": "text/javascript",
    "charts.js": "text/javascript",
    "icon.svg": "image/svg+xml",
    "uplot.css": "text/css",
    "uplot.js": "text/javascript",
    "uplot.LICENSE.txt": "text/plain",
}


class Asset(NamedTuple):
    """A file that a page names, and what it is."""

    content: bytes
    content_type: str


@cache
def asset(name: str) -> Asset:
    """A listed file. Raises KeyError for any other name."""
    content_type = STATIC[name]
    return Asset((files("proxy.ui") / "static" / name).read_bytes(), content_type)


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("proxy.ui"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(FILTERS)
    return environment


def page(name: str, *, now: datetime, **values: object) -> str:
    """The template `name`.html with these values; everything is escaped."""
    return _environment().get_template(f"{name}.html").render(now=now, **values)
