"""What engages the emergency stop without a person: each trigger a policy, each tried on a schedule.

`detectors.py` finds, `engine.py` engages, `rehearsal.py` proves with an order that is never sent, and
`standing.py` says which triggers there are.
"""

from proxy.triggers.detectors import Finding, Lack
from proxy.triggers.engine import Standing, Triggers
from proxy.triggers.rehearsal import NotRefused, prove_refusal
from proxy.triggers.standing import Sight, standing_triggers

__all__ = ["Finding", "Lack", "NotRefused", "Sight", "Standing", "Triggers", "prove_refusal", "standing_triggers"]
