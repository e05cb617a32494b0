"""The composition root: the one place where concrete parts meet, start in order and stop in reverse.

The order matters. The emergency stop and the audit are read before anything listens; the
policy is read before an order can be judged; the listener opens last and closes first.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import ssl
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import datetime
from decimal import Decimal
from typing import Any

import structlog
from aiohttp import web
from pydantic import SecretStr

from proxy import __version__, logs, loops
from proxy.accounts import Accounts
from proxy.actions import ActionMetrics, Actions, Desk, desks_of
from proxy.admin import Access, AdminParts, build_admin, load_or_create_token
from proxy.audit import AnchorFolder, Anchoring, AnchorPlace, Audit, Retention, admin_record, check_start
from proxy.book import AccountPlace, Book
from proxy.bypasses import Bypasses
from proxy.clock import Clock, SystemClock
from proxy.config import Account as AccountSettings
from proxy.config import AdminTls, Settings, Tls, load
from proxy.deadman import DeadMan, DeadManSettings
from proxy.errors import AuditError, ConfigError, StoreError
from proxy.ess import EssLatch, halt_on_signal
from proxy.ess_recovery import Recovery
from proxy.ess_release import Releases
from proxy.ess_scopes import Scopes
from proxy.exchanges import EXCHANGES
from proxy.exchanges.base import Credentials
from proxy.feeds import (
    FAMILY,
    AccountSource,
    Cadence,
    Feed,
    Feeds,
    GlobalRiskFeed,
    StreamOrigins,
    Venue,
    allowances_of,
    assemble,
    open_session,
)
from proxy.gather import Gather, RiskReader
from proxy.global_risk import GlobalRisk, Method, RiskMetrics, RiskTrips, Series
from proxy.governor import Governor
from proxy.handler import ProxyServer, ServerSettings
from proxy.health import LoopWatch
from proxy.identity import Account, Bot, Identities, strategies_by_account
from proxy.ledger import DEFAULT_POLICY, Ledger
from proxy.loss_watch import LossWatch
from proxy.metrics import Metrics
from proxy.notifiers import AnchorWebhook, Notifying
from proxy.outcomes import Outcomes
from proxy.permits import Permits, PermitSettings
from proxy.permits.metrics import PermitMetrics
from proxy.pipeline import Parts, Pipeline
from proxy.policy_file import difference, read_policy_file
from proxy.profile_results import ProfileResults
from proxy.recall import recall
from proxy.reload import Live, Reloaded, Reloading, ReloadRefused
from proxy.reservations import Fate, Reservations
from proxy.state_metrics import StateMetrics
from proxy.status import Status
from proxy.stores import create_store, open_store, store_exists
from proxy.stores.base import PolicyStore
from proxy.stores.changes import changes
from proxy.stores.legacy_env import LegacySettings, read_legacy, tightened
from proxy.stores.policies import Policies
from proxy.tasks import Tasks
from proxy.triggers import Lack, Sight, Triggers, standing_triggers
from proxy.upstream import Upstream, UpstreamSettings, tls_context
from rules import EssLevel, Market, VarRoom
from rules.profile import LossPolicy, TriggersPolicy

log = structlog.get_logger("riskgate.app")

MARKETS = {"spot": Market.SPOT, "futures": Market.LINEAR}
VAR_ASKED_MAX = 100
DAY_START_FILE = "day_start.json"
_COLLECT_AFTER = (20_000, 20, 20)


class App:
    """One riskgate: everything built from settings, started in order, stopped in reverse."""

    def __init__(self, settings: Settings, *, clock: Clock | None = None) -> None:
        self.settings = settings
        self.clock = clock or SystemClock()
        self.metrics = Metrics(__version__)
        self.tasks = Tasks()
        self.proxy_url = ""
        self.admin_url = ""
        self.accounts = _accounts(settings)
        self.identities = Identities(_bots(settings, self.accounts), clock=self.clock)
        self._contexts: dict[str, ssl.SSLContext] = {}  # of listeners that speak TLS
        self.profile_results = ProfileResults(lambda: self.policies.last_known, self._equity)
        self.reloading = Reloading(
            settings=settings,
            live=Live(
                identities=self.identities,
                # On the accounts in force: what else changed of them waits for a restart, as it is said to.
                bots_of=lambda found: _bots(found, {**_accounts(found), **self.accounts}),
                set_log_level=logs.set_level,
                load_certificates=self._load_certificates,
            ),
            read=load,
        )
        self.book = Book(_place(name, one) for name, one in settings.accounts.items())
        self.reservations = Reservations(self.book, self.clock)
        self.audit = Audit(
            settings.audit_dir,
            sync=settings.audit.sync,
            clock=self.clock,
            tasks=self.tasks,
            second=settings.audit.second_dir,
        )
        self.upstream = Upstream(
            settings.upstream.hosts,
            _upstream_settings(settings),
            tasks=self.tasks,
            warm=families_traded(settings),
        )
        self.feeds: Feeds
        self.risk: GlobalRisk | None = None  # the embedded engine, where there is one
        self.risk_signal: RiskReader | None = None  # what orders read
        self.latch: EssLatch
        self.store: PolicyStore
        self.policies: Policies
        self.status: Status
        self.account_views: Accounts
        self._server: ProxyServer
        self._logs: logs.Logs
        self._loop_watch: LoopWatch
        self.ledger: Ledger
        self.losses: LossWatch
        self.actions: Actions
        self.dead_man: DeadMan
        self.governor: Governor
        self.outcomes = Outcomes()
        self.anchoring: Anchoring
        self.triggers: Triggers
        self.scopes: Scopes
        self.recovery: Recovery
        self.releases: Releases
        self.permits: Permits
        self._var_asked: dict[Series, None] = {}  # whose VaR orders asked for
        self._kill_switch = False  # QT_KILL_SWITCH of an older installation
        self._stack = AsyncExitStack()

    @classmethod
    def from_settings(cls, settings: Settings, *, clock: Clock | None = None) -> App:
        """Build an app; nothing is opened before `start`."""
        return cls(settings, clock=clock)

    async def start(self) -> None:
        """Open everything, the listener last. What fails stops the start, and closes what was open."""
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise

    async def stop(self) -> None:
        """Stop accepting, let orders under way finish, record it, close everything."""
        await self._stack.aclose()

    async def _start(self) -> None:
        settings, stack = self.settings, self._stack
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._logs = self._configured_logs()
        stack.callback(self._logs.close)
        self._loop_watch = LoopWatch(asyncio.get_running_loop(), self.clock)
        self._loop_watch.start()
        stack.callback(self._loop_watch.close)
        anchor_places = self._open_record()
        self.latch = EssLatch.open(settings.ess_path, clock=self.clock, drain=self.upstream.drained)
        stack.callback(self.latch.close)
        self.store = await self._open_store()
        stack.push_async_callback(self.store.close)
        self.policies = Policies(
            self.store,
            clock=self.clock,
            poll_s=settings.store.poll_interval,
            age_max_s=settings.store.age_max,
            timeout_s=settings.store.timeout,
        )
        await self.policies.start()
        stack.push_async_callback(self.policies.close)
        self._check_accounts_in_policy()
        stack.push_async_callback(self.tasks.close)
        self._record_start()
        stack.callback(self._record_stop)
        self._start_keeping(anchor_places)
        gather = await self._start_feeds()
        self._start_stopping()
        await self.upstream.start()
        stack.push_async_callback(self.upstream.close)
        self._start_actions(gather)
        self._start_permits()
        self.account_views = Accounts(
            book=self.book,
            reservations=self.reservations,
            gather=gather,
            policies=self.policies,
            latch=self.latch,
            accounts=self.accounts,
            strategies=strategies_by_account(_bots(self.settings, self.accounts)),
            clock=self.clock,
        )
        self.status = Status(
            audit=self.audit,
            latch=self.latch,
            policies=self.policies,
            feeds=self.feeds,
            book=self.book,
            reservations=self.reservations,
            upstream=self.upstream,
            accounts=self.accounts,
            clock=self.clock,
            version=__version__,
            losses=self.losses.report,
            governor=self.governor.report,
            anchors=self.anchoring.report,
            permits=self.permits.report,
            dead_man=self.dead_man.report,
        )
        self._start_triggers()
        self._start_notifiers()
        await self._start_admin()
        self._watch_stop()
        self._watch_reload()
        await self._heed_kill_switch()
        await self._start_proxy(self._pipeline(gather))
        stack.callback(calm_collector())

    def _configured_logs(self) -> logs.Logs:
        stated = self.settings.log
        return logs.configure(
            clock=self.clock, level=stated.level, form=stated.format, risk_guard_events=stated.risk_guard_events
        )

    # -- the record -------------------------------------------------------------------------------

    def _open_record(self) -> list[AnchorPlace]:
        """Open the audit; returns where its head is left. What was left in a folder must be in this record."""
        self.audit.open()
        self._stack.callback(self.audit.close)
        stated = self.settings.audit.anchor
        places: list[AnchorPlace] = []
        if stated.dir is not None:
            folder = AnchorFolder(stated.dir, secret=_secret_bytes(stated.secret))
            self._stack.callback(folder.close)
            check_start(self.audit, folder)
            places.append(folder)
        if (hook := stated.webhook) is not None:
            session = open_session()
            self._stack.push_async_callback(session.close)
            places.append(AnchorWebhook(session, hook.url, secret=_secret_bytes(hook.secret), clock=self.clock))
        return places

    def _start_keeping(self, places: Sequence[AnchorPlace]) -> None:
        """Leave the head of the record elsewhere once a minute, and remove what is past its time."""
        stated = self.settings.audit
        self.anchoring = Anchoring(self.audit, places, clock=self.clock)
        self.tasks.spawn(self.anchoring.watch(every_s=stated.anchor.interval), name="audit.anchors")
        if stated.keep is not None:
            retention = Retention(self.audit, keep_s=stated.keep, clock=self.clock)
            self.tasks.spawn(retention.watch(), name="audit.retention")

    # -- policy -----------------------------------------------------------------------------------

    async def _open_store(self) -> PolicyStore:
        """Open the store, or create it from the policy file; an existing one is never seeded again."""
        settings = self.settings
        url, password = settings.store.url, settings.store.password
        place: dict[str, Any] = {
            "clock": self.clock,
            "data_dir": settings.data_dir,
            "password": None if password is None else password.get_secret_value(),
        }
        # What cannot be read stops every start, not only the first.
        legacy = read_legacy(os.environ)
        self._kill_switch = legacy.kill_switch
        if await store_exists(url, **place):
            return await _unlike(await open_store(url, **place), legacy)
        if url != "memory" and self.audit.last_sequence:
            raise ConfigError(
                f"{settings.data_dir} has a record of decisions but its policy store is gone; expected the store "
                "back in its place, a new data_dir, or `riskgate store create` if it is to be another one from now "
                "on: limits that people changed are not made up again"
            )
        if settings.policy_file is None:
            raise ConfigError(
                "there is no policy store yet, and no policy_file to fill it from; `riskgate init` writes one"
            )
        seed, _ = tightened(read_policy_file(settings.policy_file), legacy)
        try:
            return await create_store(url, seed, **place)
        except ConfigError:
            # Of several proxies that begin together one makes the store, and the others open it.
            if url == "memory" or not await store_exists(url, **place):
                raise
            return await open_store(url, **place)

    def _check_accounts_in_policy(self) -> None:
        """An account without a policy would block every order; say so at the start, not at the first order."""
        known = self.policies.current.policy.accounts
        for name in self.accounts:
            if name not in known:
                names = ", ".join(sorted(known)) or "none"
                raise ConfigError(f"account {name!r} is in the settings but not in the policy, which knows {names}")

    # -- feeds ------------------------------------------------------------------------------------

    async def _start_feeds(self) -> Gather:
        settings = self.settings
        # Feeds ask the same hosts as orders go to, and trust whom those trust.
        trusted = tls_context(_ca_file(settings))  # made once: reading the system's authorities takes 40 ms
        session = open_session(ssl_context=trusted)
        self._stack.push_async_callback(session.close)
        self.ledger = Ledger(settings.data_dir / DAY_START_FILE, self.clock, policy_of=self._loss_policy)
        day_start = self.ledger
        self._show_profiles()
        sources = [self._source(name, one) for name, one in settings.accounts.items()]
        allowances = allowances_of(sources, self.clock)
        venues = {
            (exchange, market): Venue(session, settings.upstream.hosts[FAMILY[market]], self.clock, allowance=allowance)
            for (exchange, market), allowance in allowances.items()
        }
        self.risk_signal, risk_feed = self._risk(venues, day_start)
        told = open_session(connections_max=0, ssl_context=trusted)
        self._stack.push_async_callback(told.close)
        pushes = settings.upstream.pushes
        bypasses = Bypasses(
            self.latch,
            self.audit,
            self.tasks,
            {name: one.bypass for name, one in settings.accounts.items()},
            by_settings=lambda: self._triggers_policy().bypass.level == "settings",
        )
        self.feeds = assemble(
            sources,
            settings.upstream.hosts,
            book=self.book,
            reservations=self.reservations,
            day_start=day_start,
            session=session,
            clock=self.clock,
            cadence=Cadence(
                account_s=settings.feeds.account_interval,
                snapshot_s=settings.feeds.snapshot_interval,
                market_s=settings.feeds.market_interval,
                calm_s=settings.feeds.reconcile_interval,
                risk_s=settings.global_risk.interval,
            ),
            risk=risk_feed,
            allowances=allowances,
            streams=StreamOrigins(
                futures=pushes.fapi, spot=pushes.api, spot_account=pushes.ws_api, session=told
            ),
            on_bypass=bypasses.found,
            recorded=bypasses.recorded,
        )
        self._stack.push_async_callback(self.ledger.save, now=True)
        self.feeds.start(self.tasks)
        self._stack.push_async_callback(self.feeds.close)
        self.losses = LossWatch(
            self.ledger, self.policies, self.latch, self.audit, self.metrics, self.clock, lambda: self.accounts,
            {name: account.exchange for name, account in self.accounts.items()},
        )  # fmt: skip
        self.tasks.spawn(self.losses.watch(), name="losses.watch")
        self._start_governor()
        if self.risk_signal is not None:
            engine = None if self.risk is None else self.risk.engine
            self.metrics.registry.register(RiskMetrics(self.risk_signal, engine, self.clock))
        if self.risk_signal is not None and settings.global_risk.trip == "by_tier":
            self._start_risk_trips(self.risk_signal)
        return Gather(
            self.book, self.reservations, self.risk_signal, self.latch, clock=self.clock, losses=day_start,
            governor=self.governor, var=self._room,
        )  # fmt: skip

    def _start_governor(self) -> None:
        """What makes of losses and signal how careful an account has to be."""
        self.governor = Governor(
            self.policies, self.clock, self.metrics, accounts=lambda: self.accounts, equity=self.book,
            losses=self.ledger, risk=self.risk_signal,
        )  # fmt: skip
        self.tasks.spawn(self.governor.watch(), name="governor.watch")

    def _room(
        self, account: str, exchange: str, asked: Sequence[tuple[Market, str]], now: datetime
    ) -> VarRoom | None:
        """What VaR and ES leave of an account; None where no engine is embedded that could tell."""
        stored = self.policies.last_known
        if self.risk is None or stored is None:
            return None
        for market, symbol in asked:
            # Candles of what no policy lists are read once somebody wants to trade it; until then nothing is known.
            priced_by = self.book.priced_by(exchange, market, symbol)
            if priced_by is not None and len(self._var_asked) < VAR_ASKED_MAX:
                self._var_asked.setdefault(Series(exchange, market, priced_by))
        return self.risk.by_var.room(account, exchange, asked, stored.policy.risk_limits, now)

    def _risk(
        self, venues: Mapping[tuple[str, Market], Venue], day_start: Ledger
    ) -> tuple[RiskReader | None, Feed | None]:
        """Where orders read the global risk signal, and the feed that keeps it new: the same object."""
        asked = self.settings.global_risk
        if asked.source == "remote" and asked.url is not None:
            # The signal is not the venue's: a private authority of the venue says nothing about it.
            own = open_session(token=asked.token.get_secret_value() if asked.token is not None else None)
            self._stack.push_async_callback(own.close)
            feed = GlobalRiskFeed(Venue(own, asked.url, self.clock), self.clock, every_s=asked.interval)
            return feed, feed
        if asked.source != "embedded":
            return None, None
        self.risk = GlobalRisk(
            self.book,
            day_start,
            lambda: self.policies.current.policy.risk_limits,
            venues,
            self.clock,
            listed=self._listed,
            method=Method(
                lookback_days=asked.lookback_days,
                history_min=asked.history_min_days,
                horizon_hours=float(asked.horizon_hours),
                benchmark=asked.benchmark,
            ),
            every_s=asked.interval,
        )
        self.risk.start(self.tasks)
        self._stack.push_async_callback(self.risk.close)
        return self.risk.engine, self.risk.engine

    def _listed(self) -> Iterable[Series]:
        """What was asked for, and every symbol that a policy names on the markets of the accounts that may trade it."""
        yield from tuple(self._var_asked)
        try:
            policy = self.policies.current.policy
        except StoreError:
            return  # then no order passes; what is held is asked for anyway
        for place in self.book.accounts:
            own = policy.accounts.get(place.name)
            if own is None or isinstance(own.symbols, str):
                continue
            for symbol in sorted(own.symbols):
                for market in sorted(place.markets):
                    # What the venue does not list there has no candles to ask for.
                    if (priced_by := self.book.priced_by(place.exchange, market, symbol)) is not None:
                        yield Series(place.exchange, market, priced_by)

    def _source(self, name: str, account: AccountSettings) -> AccountSource:
        """A configured static equity takes the place of reading the account."""
        credentials = None if account.static_equity is not None else self.accounts[name].credentials
        return AccountSource(
            place=_place(name, account), credentials=credentials, stream=account.stream == "on",
            wallet_history=account.wallet_history,
        )  # fmt: skip

    def _show_profiles(self) -> None:
        """Which risk profile is active, and how each has done, for monitoring."""
        results = self.profile_results
        if (known := self.policies.last_known) is not None:
            results.policy_changed(known)
        self._stack.callback(self.store.subscribe(results.policy_changed))
        self.ledger.on_realised = results.realised
        self.metrics.registry.register(results)

    def _equity(self) -> Decimal | None:
        """What all accounts hold together; None where one is not known."""
        now = self.clock.now()
        found = [self.book.equity(account, now) for account in self.accounts]
        return None if None in found else sum((one.value for one in found if one is not None), Decimal(0))

    def _loss_policy(self, account: str) -> LossPolicy:
        """How an account's losses are measured, by the last known policy."""
        stored = self.policies.last_known
        own = None if stored is None else stored.policy.accounts.get(account)
        return DEFAULT_POLICY if own is None else own.losses

    # -- listeners --------------------------------------------------------------------------------

    def _pipeline(self, gather: Gather) -> Pipeline:
        parts = Parts(
            exchange=EXCHANGES[0],
            identities=self.identities,
            gather=gather,
            policies=self.policies,
            reservations=self.reservations,
            audit=self.audit,
            latch=self.latch,
            upstream=self.upstream,
            metrics=self.metrics,
            watcher=self.feeds,
            clock=self.clock,
            outcomes=self.outcomes,
            permits=self.permits,
            attendance=self.dead_man if self.dead_man.is_needed else None,
        )
        return Pipeline(parts) if self.settings.telemetry.endpoint is None else self._traced(parts)

    def _traced(self, parts: Parts) -> Pipeline:
        """The same path, and spans of what passes; loaded only where somebody receives them."""
        from proxy.telemetry import TracedPipeline, open_spans

        spans = open_spans(self.settings.telemetry, __version__)
        self.metrics.registry.register(spans)
        self._stack.push_async_callback(asyncio.to_thread, spans.close)
        return TracedPipeline(parts, spans.take)

    async def _start_proxy(self, pipeline: Pipeline) -> None:
        listen = self.settings.listen
        # Bots on one machine share an address; whoever it is, one address leaves room for the others.
        per_peer = max(1, listen.connections_max - max(1, listen.connections_max // 10))
        self._server = ProxyServer(
            pipeline,
            ServerSettings(connections_max=listen.connections_max, connections_per_peer_max=per_peer),
        )
        host, port = await self._server.start(
            listen.bind.host, listen.bind.port, ssl=self._context("listen.tls", listen.tls)
        )
        self.proxy_url = f"{'https' if listen.tls else 'http'}://{_shown(host)}:{port}"
        self._stack.push_async_callback(self._drain)
        log.info("proxy.listening", url=self.proxy_url, event_loop=loops.running())

    async def _drain(self) -> None:
        """Not ready first, then no new connections, then wait for what is under way."""
        self.status.draining = True
        await asyncio.sleep(self.settings.listen.drain_delay)
        unfinished = await self._server.stop(self.settings.listen.drain_timeout)
        if unfinished:
            log.error("proxy.drain_cut_short", unfinished=unfinished)

    async def _start_admin(self) -> None:
        admin = self.settings.admin
        token = load_or_create_token(self.settings.admin_token_path)
        parts = AdminParts(
            access=Access.open(self.settings.tokens_path, clock=self.clock, bootstrap=token),
            ess=self.latch,
            audit=self.audit,
            store=self.store,
            values=self.policies,
            status=self.status.status,
            ready=self.status.ready,
            clock=self.clock,
            version=__version__,
            accounts=tuple(self.accounts),
            registry=self.metrics.registry,
            refresh_metrics=self._refresh_metrics,
            account_views=self.account_views,
            scopes=self.scopes,
            identities=self.identities,
            recovery=self.recovery,
            triggers=self.triggers,
            release_by_two=admin.release_by == "two",
            releases=self.releases,
            reload=self.reload,
            drafts_dir=self.settings.data_dir / "drafts",
            risk=self.risk,
            actions=self.actions,
            permits=self.permits,
            dead_man=self.dead_man,
            totals=self.metrics.totals,
            loop_lag_s=self._loop_watch.lag_s,
            proxy_url=lambda: self.proxy_url,
        )
        self.metrics.registry.register(
            StateMetrics(self.feeds.health, lambda: self.policies.age_s, self.account_views)
        )
        token = load_or_create_token(self.settings.admin_token_path)
        runner = web.AppRunner(build_admin(parts, token=token), access_log=None, shutdown_timeout=0.3)
        await runner.setup()
        self._stack.push_async_callback(runner.cleanup)
        site = web.TCPSite(runner, admin.bind.host, admin.bind.port, ssl_context=self._context("admin.tls", admin.tls))
        await site.start()
        host, port = runner.addresses[0][:2]
        self.admin_url = f"{'https' if admin.tls else 'http'}://{_shown(host)}:{port}"
        log.info("admin.listening", url=self.admin_url)

    def _refresh_metrics(self) -> None:
        self.profile_results.settle(self.clock.now())
        self.metrics.reserved({state.value: count for state, count in self.reservations.counts().items()})
        self.metrics.audit_state(healthy=self.audit.healthy, failures=self.audit.failures)
        self.metrics.audit_places(self.audit.folders, self.anchoring.report())
        self.metrics.loop_lag_seconds.set(self._loop_watch.lag_s())
        self.metrics.log_lines_dropped.set(self._logs.dropped)
        for account in self.accounts:
            self.metrics.bypassed(account, self.feeds.bypass_count(account))
            for market in Market:
                if (live := self.feeds.live(account, market)) is not None:
                    self.metrics.heard(account, market.value, is_live=live.is_live, drifts=live.drifts)

    # -- the stop ---------------------------------------------------------------------------------

    def _start_stopping(self) -> None:
        """What a scope holds, and how accounts come back after a HALT."""
        strategies = strategies_by_account(_bots(self.settings, self.accounts))
        self.scopes = Scopes(self.accounts, strategies, self._symbols_listed)
        self.latch.accounts_under = self.scopes.accounts_under
        self.latch.unknown_orders = lambda: self.reservations.counts().get(Fate.UNKNOWN, 0)
        markets = {place.name: place.markets for place in self.book.accounts}
        self.recovery = Recovery(self.latch, self.feeds, self.reservations, markets, self.clock)
        self.tasks.spawn(self.recovery.watch(), name="ess.recovery")

    def _start_actions(self, gather: Gather) -> None:
        """What the proxy does itself after a trip, and what an earlier process left of that."""
        desks = desks_of(
            self.accounts,
            {place.name: place.markets for place in self.book.accounts},
            feeds=self.feeds,
            book=self.book,
            exchange=EXCHANGES[0],
            gather=gather,
            reservations=self.reservations,
            audit=self.audit,
            latch=self.latch,
            upstream=self.upstream,
            clock=self.clock,
        )
        tasks = Tasks()
        self._stack.push_async_callback(tasks.close)
        self.actions = Actions(
            desks, latch=self.latch, audit=self.audit, clock=self.clock, tasks=tasks, accounts=self.accounts
        )
        self.actions.recall(self.audit.directory)
        self.metrics.registry.register(ActionMetrics(self.actions.counts))
        self._start_dead_man(desks)

    def _start_dead_man(self, desks: Mapping[str, Desk]) -> None:
        """Watch over the bots of accounts that ask for it."""
        found = {
            name: DeadManSettings(lease_s=one.dead_man.lease, countdown_s=one.dead_man.countdown)
            for name, one in self.settings.accounts.items()
            if one.dead_man.lease is not None
        }
        self.dead_man = DeadMan(
            found,
            desks=desks,
            exchanges={name: account.exchange for name, account in self.accounts.items()},
            book=self.book,
            latch=self.latch,
            audit=self.audit,
            clock=self.clock,
        )
        if found:
            self.tasks.spawn(self.dead_man.watch(), name="deadman.watch")

    def _start_permits(self) -> None:
        """What people may let through once, and what an earlier process left of that."""
        stated, accounts = self.settings.permits, self.settings.accounts.items()
        self.permits = Permits(
            self.settings.data_dir / "permits.json",
            audit=self.audit,
            clock=self.clock,
            settings=PermitSettings(
                ceilings={
                    name: one.override_notional_max for name, one in accounts if one.override_notional_max is not None
                },
                approval_by_two=stated.approval_by == "two",
                approval_wait_s=stated.approval_wait,
                approval_valid_s=stated.approval_valid,
                override_valid_s=stated.override_valid,
                overrides_per_day=stated.override_daily_max,
                price_tolerance=stated.price_tolerance,
            ),
        )
        self._stack.callback(self.permits.close)
        counted = PermitMetrics(self.accounts, self.permits.report)
        self.metrics.registry.register(counted)
        self.permits.listeners.append(counted.note)
        self.permits.restore(self.audit.directory)
        self.tasks.spawn(self.permits.watch(), name="permits.watch")

    def _start_triggers(self) -> None:
        """What engages the stop without a person; each is tried on a schedule."""
        settings = self.settings
        sight = Sight(
            policies=self._triggers_policy,
            accounts={name: account.exchange for name, account in self.accounts.items()},
            outcomes=self.outcomes,
            decisions=self.metrics.decisions,
            lacks=self._lacks,
            losses=self.losses,
            risk=self.risk_signal,
            risk_trips=settings.global_risk.trip == "by_tier",
            bypasses=self.feeds.bypass_count,
            bypass_reduces=[name for name, one in settings.accounts.items() if one.bypass == "reduce_only"],
            is_read=lambda account: self.book.read_at(account) is not None,
            clock=self.clock,
        )
        callers = [caller for bot in _bots(settings, self.accounts) for caller in bot.callers.values()]
        self.triggers = Triggers(
            standing_triggers(sight), self.latch, self.audit, callers, self.clock, self.metrics.registry
        )
        self.tasks.spawn(self.triggers.watch(), name="ess.triggers")

    def _start_risk_trips(self, signal: RiskReader) -> None:
        """What a demand of the signal engages by the settings, where the policy leaves it to them."""
        trips = RiskTrips(
            signal, self.latch, self.audit, self.clock,
            wanted=lambda: self._triggers_policy().global_risk.level == "settings",
        )  # fmt: skip
        self.tasks.spawn(trips.watch(every_s=self.settings.global_risk.interval), name="risk.trips")

    def _triggers_policy(self) -> TriggersPolicy:
        stored = self.policies.last_known
        return TriggersPolicy() if stored is None else stored.policy.triggers

    def _lacks(self) -> Iterable[Lack]:
        """What an order would miss now, by account."""
        for name, account in self.accounts.items():
            yield Lack(name, account.exchange, tuple(self.status.missing(name)))

    def _symbols_listed(self) -> set[str]:
        """Every symbol that the venues of the accounts list, as far as that has been read."""
        places = {(place.exchange, market) for place in self.book.accounts for market in place.markets}
        return {symbol for exchange, market in places for symbol in self.book.filters(exchange, market)}

    def _start_notifiers(self) -> None:
        """People are told before anything listens, and of the stop as the last thing."""
        self.releases = Releases(self.latch, self.clock, by_two=self.settings.admin.release_by == "two")
        totals = self.metrics.totals
        notifying = Notifying(self.settings.notify, clock=self.clock)
        self._stack.push_async_callback(notifying.close)
        notifying.watch(
            ready=self.status.ready,
            losses=self.losses.used,
            bypasses=self.feeds.bypass_count,
            decisions=lambda: (sum(totals()[:3]), totals().blocked),
            accounts=self.accounts,
        )
        notifying.listen(
            latch=self.latch, releases=self.releases, scopes=self.scopes, audit=self.audit, status=self.status.status
        )
        self.latch.listeners.append(notifying.stopped)
        self.permits.listeners.append(notifying.permit_changed)
        self._stack.callback(self.store.subscribe(notifying.policy_changed))
        notifying.began(__version__, self.latch.stops())

    def _watch_stop(self) -> None:
        """The file HALT in the data directory and SIGUSR1 stop as the admin API does."""
        self.latch.listeners.append(self.metrics.stop_changed)
        for stop in self.latch.stops():
            self.metrics.stop_found(stop)
        self.tasks.spawn(self.latch.watch(), name="ess.watch")
        halt_on_signal(self.latch, self.tasks, asyncio.get_running_loop())

    async def _heed_kill_switch(self) -> None:
        """A switch of an older installation stops everything before anything listens; it never releases."""
        if not self._kill_switch:
            return
        level = EssLevel.HALT
        before = self.latch.stop_of("global").level
        engaged = await self.latch.engage(
            level=level, scope="global", actor="riskgate", reason="QT_KILL_SWITCH is set", source="start"
        )
        record = admin_record(
            actor="riskgate", act="ess.engage halt", scope="global", reason="QT_KILL_SWITCH is set",
            before={"level": before.name.lower()},
            after={"level": engaged.stop.level.name.lower(), "epoch": engaged.epoch},
            result=engaged.problem or "done",
        )  # fmt: skip
        self.audit.append(record)

    # -- settings that change while it runs -------------------------------------------------------

    def _context(self, name: str, tls: Tls | None) -> ssl.SSLContext | None:
        if tls is None:
            return None
        context = self._contexts[name] = _tls(tls)
        return context

    def _load_certificates(self, found: Settings) -> tuple[str, ...]:
        """New connections show the certificates as they are now; files at other places wait for a restart."""
        read = []
        for name, tls in (("listen.tls", found.listen.tls), ("admin.tls", found.admin.tls)):
            if tls is not None and name in self._contexts:
                _tls(tls)  # a pair that does not fit raises here, before the one in use is touched
                self._contexts[name].load_cert_chain(tls.cert, tls.key)
                read.append(f"{name} (certificates)")
        return tuple(read)

    async def reload(self, actor: str, reason: str) -> Reloaded:
        """Read the settings again, and the policy from its store; on record."""
        told: dict[str, Any] = {"actor": actor, "act": "settings.reload", "reason": reason}
        try:
            applied, waiting = self.reloading.again()
        except (ReloadRefused, OSError) as error:
            log.error("settings.refused", error=str(error))
            self.audit.append(admin_record(**told, result="refused: nothing changed"))
            raise error if isinstance(error, ReloadRefused) else ReloadRefused(str(error)) from None
        self.audit.append(
            admin_record(**told, after={"applied": applied, "requires_restart": waiting}, result="reloaded")
        )
        remarks = []
        try:
            await self.policies.refresh()
        except StoreError as error:
            # The last known policy goes on; its age says for how long.
            remarks.append(f"the policy store could not be read: {error}")
        known, file = self.policies.last_known, self.reloading.settings.policy_file
        if known is not None and file is not None and (said := difference(file, known)):
            remarks.append(said)
        revision = None if known is None else known.revision
        return Reloaded(applied=applied, requires_restart=waiting, policy_revision=revision, remarks=tuple(remarks))

    def _watch_reload(self) -> None:
        """SIGHUP reads the settings again; what it refuses stands in the log."""
        loop = asyncio.get_running_loop()

        async def reload() -> None:
            try:
                await self.reload("signal", "the process received SIGHUP")
            except ReloadRefused:
                return  # said in the log and on record; the settings in force stay
            except AuditError as error:
                log.error("audit.unavailable", error=str(error), act="settings.reload")

        loop.add_signal_handler(signal.SIGHUP, lambda: self.tasks.spawn(reload(), name="reload"))
        self._stack.callback(loop.remove_signal_handler, signal.SIGHUP)

    def _record_start(self) -> None:
        """Reserve again what an earlier process left open, and say so."""
        recalled = recall(self.audit.directory, self.reservations, self.accounts, self.clock)
        self.audit.append(
            {"kind": "start", "version": __version__, "ess_epoch": self.latch.epoch, "recalled": recalled}
        )

    def _record_stop(self) -> None:
        if self.audit.healthy:
            self.audit.append({"kind": "stop", "ess_epoch": self.latch.epoch})


def calm_collector() -> Callable[[], None]:
    """Let the garbage collector look at less and more seldom; returns what puts it back.

    What was built at the start lives as long as the process, and orders leave no cycles behind: going
    through all of it every few hundred orders only makes some of them late.
    """
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECT_AFTER)

    def put_back() -> None:
        gc.set_threshold(*before)
        gc.unfreeze()

    return put_back


def _accounts(settings: Settings) -> Mapping[str, Account]:
    found: dict[str, Account] = {}
    for name, one in settings.accounts.items():
        credentials = None
        if one.credentials is not None:
            credentials = Credentials(
                api_key=one.credentials.api_key.get_secret_value(),
                secret=one.credentials.secret.get_secret_value().encode(),
                kind=one.credentials.kind,
            )
        found[name] = Account(
            name=name,
            exchange=one.exchange,
            mode=one.mode,
            credentials=credentials,
            transfers_allowed=one.transfers_allowed,
        )
    return found


def _bots(settings: Settings, accounts: Mapping[str, Account]) -> Iterable[Bot]:
    for account, one in settings.accounts.items():
        for name, bot in one.bots.items():
            yield Bot(
                name=name,
                key=bot.key.get_secret_value(),
                account=accounts[account],
                strategy=bot.strategy or name,
                secret=bot.secret.get_secret_value().encode() if bot.secret is not None else None,
                prefixes={other: one.prefix for other, one in bot.strategies.items()},
            )


def _place(name: str, account: AccountSettings) -> AccountPlace:
    return AccountPlace(
        name=name,
        exchange=account.exchange,
        markets=frozenset(MARKETS[market] for market in account.markets),
        equity_static=account.static_equity,
    )


def families_traded(settings: Settings) -> frozenset[str]:
    """The families the accounts trade on: only their hosts are kept warm, the others hear of us when a bot asks."""
    return frozenset(FAMILY[MARKETS[market]] for one in settings.accounts.values() for market in one.markets)


def _upstream_settings(settings: Settings) -> UpstreamSettings:
    upstream = settings.upstream
    return UpstreamSettings(
        connections_max=upstream.connections_max,
        connections_warm=upstream.connections_warm,
        connect_timeout_s=upstream.connect_timeout,
        total_timeout_s=upstream.total_timeout,
        ca_file=_ca_file(settings),
    )


def _secret_bytes(secret: SecretStr | None) -> bytes | None:
    return None if secret is None else secret.get_secret_value().encode()


def _ca_file(settings: Settings) -> str | None:
    return str(settings.upstream.ca_file) if settings.upstream.ca_file else None


async def _unlike(store: PolicyStore, legacy: LegacySettings) -> PolicyStore:
    """An existing store holds the policy; who sets an old variable all the same hears what it does not do."""
    try:
        stored = (await store.get()).policy
        tighter, _ = tightened(stored, legacy)
    except BaseException:
        await store.close()
        raise
    for change in changes(stored, tighter):
        log.warning("settings.not_in_force", limit=change.path, stored=change.before, environment=change.after)
    return store


def _tls(tls: Tls) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(tls.cert, tls.key)
    if isinstance(tls, AdminTls) and tls.client_ca is not None:
        context.load_verify_locations(tls.client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host
