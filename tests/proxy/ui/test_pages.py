"""The console's files: listed, unchanged where they are not ours, and asking for nothing from elsewhere."""

import hashlib
import re
from datetime import UTC, datetime
from importlib.resources import files

import pytest

from proxy.ui import STATIC, asset, page

# As published: uplot 1.6.32 on npm, dist/uPlot.iife.min.js, dist/uPlot.min.css and LICENSE.
VENDORED = {
    "uplot.js": "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f",
    "uplot.css": "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
    "uplot.LICENSE.txt": "8f989229699b4fe2f1a0432d0e9edc338a8a911e250e2d1b01ecd770a5f5b1bd",
}


def test_every_file_is_listed_and_every_listed_file_is_there():
    """What is served is the list; what lies beside it would be shipped for nothing."""
    assert {one.name for one in (files("proxy.ui") / "static").iterdir()} == set(STATIC)
    assert all(asset(name).content for name in STATIC)


@pytest.mark.parametrize(("name", "digest"), VENDORED.items())
def test_what_is_not_ours_is_unchanged(name, digest):
    """Byte for byte what its authors published."""
    assert hashlib.sha256(asset(name).content).hexdigest() == digest


def test_nothing_names_another_place():
    """Pages, style and scripts of ours hold no address of another host, and pages no script or style of their own."""
    sources = {one.name: one.read_text("utf-8") for one in (files("proxy.ui") / "templates").iterdir()}
    sources |= {name: asset(name).content.decode() for name in STATIC if name not in VENDORED}

    for name, text in sources.items():
        places = set(re.findall(r"(?:https?:)?//[a-z][\w.-]*\.[a-z]+", text)) - {"http://www.w3.org"}
        assert places == set(), name
        if name.endswith(".html"):
            assert re.findall(r"<style|\sstyle=|\son[a-z]+=|<script(?![^>]*\ssrc=)", text) == [], name


def test_what_is_shown_is_escaped():
    """A value is text, never markup."""
    text = page("login", now=datetime(2026, 1, 1, tzinfo=UTC), problem="<b>&", version="1")

    assert "&lt;b&gt;&amp;" in text
