"""What the proxy does itself after a trip: cancel working orders, then close positions, and say only what was seen.

Everything it sends goes through one lane (`lane.py`) that can carry cancels and proven reductions and nothing
else (`proof.py`), and nothing is called cancelled or flat before a reading that was asked for afterwards says so.
"""

from __future__ import annotations

from proxy.actions.desk import Desk, desks_of
from proxy.actions.jobs import ActionRefused, Actions, Job, Kind
from proxy.actions.metrics import ActionMetrics
from proxy.actions.pace import Pace
from proxy.actions.proof import NotAdmitted

__all__ = ["ActionMetrics", "ActionRefused", "Actions", "Desk", "Job", "Kind", "NotAdmitted", "Pace", "desks_of"]
