"""The operator console's pages and files. They need no network, no build step and no script to stop trading."""

from __future__ import annotations

from proxy.ui.pages import STATIC, Asset, asset, page

__all__ = ["Asset", "STATIC", "asset", "page"]
