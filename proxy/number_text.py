"""A number as it was written.

A module of its own, because a class derived from `str` cannot be compiled ahead of time and `proxy.wire`,
which makes these, is (`docs/adr/0010-compiled-build.md`).
"""

from __future__ import annotations


class NumberText(str):
    """A JSON number as it was written."""

    __slots__ = ()
