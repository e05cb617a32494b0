"""What the admin listener is made of."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from prometheus_client import CollectorRegistry

from proxy.accounts import Accounts
from proxy.admin.access import Access
from proxy.audit import Audit
from proxy.clock import Clock
from proxy.ess import EssLatch
from proxy.ess_recovery import Recovery
from proxy.ess_release import Releases
from proxy.ess_scopes import Scopes
from proxy.identity import Identities
from proxy.reload import Reloaded
from proxy.stores.base import PolicyStore

if TYPE_CHECKING:
    from proxy.actions import Actions
    from proxy.deadman import DeadMan
    from proxy.global_risk import GlobalRisk
    from proxy.metrics import Totals
    from proxy.permits import Permits
    from proxy.triggers import Triggers


class Values(Protocol):
    """Reads single policy values by their dotted path."""

    def get_value(self, path: str) -> Any:  # noqa: ANN401 - as many types as the document has
        """The value, or ProfileNotFound."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminParts:
    """Everything the admin API shows or acts upon.

    `ready` answers whether orders can pass and, by part, why not. `hosts` are further names
    under which the listener may be reached; loopback names and IP addresses always are.
    """

    ess: EssLatch
    audit: Audit
    store: PolicyStore
    values: Values
    status: Callable[[], dict[str, Any]]
    ready: Callable[[], tuple[bool, dict[str, Any]]]
    clock: Clock
    version: str
    accounts: Collection[str]
    registry: CollectorRegistry
    refresh_metrics: Callable[[], None] = lambda: None
    metrics_open: bool = True
    hosts: Collection[str] = ()
    reload: Callable[[str, str], Awaitable[Reloaded]] | None = None  # reads the settings again, for whom and why
    drafts_dir: Path | None = None  # where drafts of policies are kept; None: in memory
    account_views: Accounts | None = None
    access: Access | None = None  # people and their tokens; without it the bootstrap token alone, in memory
    scopes: Scopes | None = None  # what a stop may name; without it accounts only
    identities: Identities | None = None  # whose keys may stop their own strategy
    recovery: Recovery | None = None
    triggers: Triggers | None = None
    release_by_two: bool = True
    releases: Releases | None = None  # shared with other ways to release; without it the listener's own
    risk: GlobalRisk | None = None  # the embedded engine, where there is one
    actions: Actions | None = None  # what the proxy does itself after a trip
    dead_man: DeadMan | None = None  # whose leases heart-beats renew
    permits: Permits | None = None  # what people may let through
    totals: Callable[[], Totals] | None = None  # what the console draws; without it there is no chart
    loop_lag_s: Callable[[], float] | None = None
    proxy_url: Callable[[], str] = lambda: ""  # where bots send to, once that is known

