"""Global Risk v3: what the whole desk holds, how bad a day could be, and what that means for new exposure.

Statistics are floats here, money is decimal. Nothing of it stands on the path of an order: the engine
evaluates beside it, and orders read the last signal from memory.
"""

from proxy.global_risk.blas import THREADS_VARIABLE as THREADS_VARIABLE  # first: it has to run before numpy does
from proxy.global_risk.by_var import ByVar, Portfolio, Room, VarLimits, largest_quantity
from proxy.global_risk.engine import GlobalRiskEngine
from proxy.global_risk.history import Series
from proxy.global_risk.measures import Method
from proxy.global_risk.metrics import RiskMetrics
from proxy.global_risk.models import GlobalRiskSignal
from proxy.global_risk.service import GlobalRisk
from proxy.global_risk.trips import RiskTrips

__all__ = [
    "ByVar", "GlobalRisk", "GlobalRiskEngine", "GlobalRiskSignal", "Method", "Portfolio", "RiskMetrics",
    "RiskTrips", "Room", "Series", "VarLimits", "largest_quantity",
]
