"""Spans of orders, for whoever follows a trade through several programs; off unless a receiver is stated.

Without one nothing of this package is loaded, and an order's path is the plain `Pipeline`. With one the path is
`TracedPipeline`, which takes the time as an order passes and hands it on after its answer. OpenTelemetry makes
spans of that in a thread of its own (`spans.py`), and what the bot sent reaches the exchange as it came.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.config import Telemetry
from proxy.errors import ConfigError
from proxy.telemetry.tracing import Trace, TracedPipeline

if TYPE_CHECKING:
    from proxy.telemetry.spans import Spans

__all__ = ["Trace", "TracedPipeline", "open_spans"]


def open_spans(settings: Telemetry, version: str) -> Spans:
    """Where traces go. Raises ConfigError where the extra is not installed."""
    try:
        from proxy.telemetry.spans import Spans
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"telemetry.endpoint needs OpenTelemetry (found no module {error.name!r}): pip install 'riskgate[otel]'"
        ) from None
    return Spans(settings, version)
