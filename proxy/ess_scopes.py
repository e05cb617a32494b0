"""What a stop's scope holds: which names there are, and which accounts fall under one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from proxy.identity import Account
from rules.ess import GLOBAL, parts_of

NAMES_SHOWN_MAX = 20


class Scopes:
    """The exchanges, accounts, strategies and symbols of this process."""

    def __init__(
        self,
        accounts: Mapping[str, Account],
        strategies: Mapping[str, Collection[str]],
        symbols: Callable[[], Collection[str]],
    ) -> None:
        self._accounts = accounts
        self._strategies = strategies
        self._symbols = symbols

    def accounts_under(self, scope: str) -> tuple[str, ...]:
        """The accounts that a stop of this scope holds, in whole or in part."""
        kind, name = parts_of(scope)
        if kind == "account":
            return (name,) if name in self._accounts else ()
        if kind == "exchange":
            return tuple(one for one, account in self._accounts.items() if account.exchange == name)
        if kind == "strategy":
            return tuple(one for one in self._accounts if name in self._strategies.get(one, ()))
        return tuple(self._accounts) if kind in (GLOBAL, "symbol") else ()

    def names(self, kind: str) -> frozenset[str]:
        """Every name of a kind that a stop can hold."""
        if kind == "account":
            return frozenset(self._accounts)
        if kind == "exchange":
            return frozenset(account.exchange for account in self._accounts.values())
        if kind == "strategy":
            return frozenset(name for names in self._strategies.values() for name in names)
        return frozenset(self._symbols()) if kind == "symbol" else frozenset()

    def wrong_with(self, scope: str) -> str | None:
        """Why a stop of this scope would stop nothing and look as if it did; None for one that holds something."""
        kind, name = parts_of(scope)
        if kind == GLOBAL:
            return None
        known = self.names(kind)
        # What a venue lists is read after the start; before that nobody is kept from halting a symbol.
        if name in known or (kind == "symbol" and not known):
            return None
        shown = ", ".join(sorted(known)[:NAMES_SHOWN_MAX]) or "none"
        if len(known) > NAMES_SHOWN_MAX:
            shown = f"{len(known)} of them"
        return f"there is no {kind} {name[:64]!r}; known: {shown}"
