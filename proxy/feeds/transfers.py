"""Every history that money comes to a Binance spot wallet by, or goes from it.

Deposits, withdrawals, transfers between one's own wallets, and transfers between a sub-account and its master.
Converting dust and paying fees in BNB happen within the wallet: they are trades, and no transfers.
https://developers.binance.com/docs/wallet
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import structlog

from proxy.feeds.history import PAGE, spans
from proxy.feeds.reading import Malformed, identifier, record, rows, size, text
from proxy.feeds.stamps import instant_of, stamp
from proxy.feeds.venue import FeedFailed, Venue
from proxy.ledger import Flow

log = structlog.get_logger("riskgate.feeds")

Worth = Callable[[str, datetime], Awaitable[Decimal]]

DEPOSITS, WITHDRAWALS = "/sapi/v1/capital/deposit/hisrec", "/sapi/v1/capital/withdraw/history"
BETWEEN_WALLETS, SUB_ACCOUNT = "/sapi/v1/asset/transfer", "/sapi/v1/sub-account/transfer/subUserHistory"
OTHER_WALLETS = ("UMFUTURE", "CMFUTURE", "MARGIN", "FUNDING", "OPTION", "PORTFOLIO_MARGIN")
SPOT_WALLET = 0
CREDITED = (1, 6)  # done; done and not yet to be withdrawn
GIVEN_BACK = (1, 3, 5)  # cancelled, rejected, failed
UNDER_WAY = timedelta(days=7)  # a deposit is listed by when it was first seen, and credited later
SECOND = timedelta(seconds=1)
SPAN_MAX = timedelta(days=7)
TRANSFERS_PAGE, SUB_PAGE = 100, 500
CENT_OF_CENTS = Decimal("0.00000001")
NOTHING = Decimal(0)


class SpotTransfers:
    """Asks for all of it; `worth` answers what a coin was worth at an instant, `venue_now` what time it is there."""

    def __init__(self, venue: Venue, worth: Worth, venue_now: Callable[[], datetime]) -> None:
        self._venue = venue
        self._worth = worth
        self._venue_now = venue_now
        self._is_sub_account = True  # until the venue says that it is none

    async def read(
        self, since: datetime, known_to: datetime, now: datetime, counted: Collection[str]
    ) -> list[Flow]:
        """What came and went since an instant. `known_to` is up to where all was known, `counted` what was told."""
        return [
            *await self._deposits(since, known_to, now),
            *await self._withdrawals(since, known_to, now, counted),
            *await self._between_wallets(since, now),
            *await self._with_master(since, now),
        ]

    async def _deposits(self, since: datetime, known_to: datetime, now: datetime) -> list[Flow]:
        flows = []
        for row in await self._offset_pages(DEPOSITS, since - UNDER_WAY, now):
            if row.get("walletType", SPOT_WALLET) != SPOT_WALLET or row.get("status") not in CREDITED:
                continue
            at = until = self._venue_now()
            if row.get("completeTime"):
                at = until = instant_of(row, "completeTime")
            else:
                # Credited at some moment since we last looked and it was not.
                at = max(known_to, instant_of(row, "insertTime"))
            amount = await self._money(text(row, "coin"), size(row, "amount"), at)
            flows.append(Flow(f"deposit:{identifier(row, 'id')}", amount, at, until))
        return flows

    async def _withdrawals(
        self, since: datetime, known_to: datetime, now: datetime, counted: Collection[str]
    ) -> list[Flow]:
        flows = []
        for row in await self._offset_pages(WITHDRAWALS, since - UNDER_WAY, now):
            if row.get("walletType", SPOT_WALLET) != SPOT_WALLET:
                continue
            key, told = f"withdrawal:{identifier(row, 'id')}", self._venue_now()
            applied = _second_of(row, "applyTime")  # told to the second
            gone = size(row, "amount") + (size(row, "transactionFee") if row.get("transactionFee") else NOTHING)
            amount = await self._money(text(row, "coin"), gone, applied)
            if row.get("status") not in GIVEN_BACK:
                flows.append(Flow(key, -amount, applied, applied + SECOND))
            elif key in counted:
                back = _second_of(row, "completeTime") if row.get("completeTime") else known_to
                flows.append(Flow(f"{key}:back", amount, back, back + SECOND if row.get("completeTime") else told))
            else:
                # Gone and back again between two looks: what was read in between says nothing.
                flows.append(Flow(f"{key}:void", NOTHING, applied, told))
        return flows

    async def _between_wallets(self, since: datetime, now: datetime) -> list[Flow]:
        flows = []
        for other in OTHER_WALLETS:
            for kind, sign in ((f"MAIN_{other}", -1), (f"{other}_MAIN", 1)):
                for row in await self._numbered_pages(kind, since, now):
                    if row.get("status") != "CONFIRMED":
                        continue
                    at = instant_of(row, "timestamp")
                    amount = await self._money(text(row, "asset"), size(row, "amount"), at)
                    flows.append(Flow(f"{kind}:{identifier(row, 'tranId')}", sign * amount, at, at))
        return flows

    async def _with_master(self, since: datetime, now: datetime) -> list[Flow]:
        if not self._is_sub_account:
            return []
        flows = []
        try:
            found = await self._sub_account_lines(since, now)
        except FeedFailed as error:
            # Who is asked with another account's key says so with a code of its own; a rate limit or a wrong
            # clock (10xx) says nothing about that, nor does a key that is refused (2xxx).
            if error.status != 400 or error.code is None or error.code > -3000:
                raise
            self._is_sub_account = False
            log.info("transfers.no_sub_account", code=error.code)
            return []
        for row in found:
            came = row.get("type") == 1
            if row.get("status") != "SUCCESS" or row.get("toAccountType" if came else "fromAccountType") != "SPOT":
                continue
            at = instant_of(row, "time")
            amount = await self._money(text(row, "asset"), size(row, "qty"), at)
            flows.append(Flow(f"sub:{identifier(row, 'tranId')}", amount if came else -amount, at, at))
        return flows

    # -- pages

    async def _offset_pages(self, path: str, since: datetime, now: datetime) -> list[Mapping[str, Any]]:
        found: list[Mapping[str, Any]] = []
        while True:
            asked = {"startTime": stamp(since), "endTime": stamp(now), "offset": str(len(found)), "limit": str(PAGE)}
            page = rows((await self._venue.get(path, asked, signed=True)).found)
            found += page
            if len(page) < PAGE:
                return found

    async def _numbered_pages(self, kind: str, since: datetime, now: datetime) -> list[Mapping[str, Any]]:
        found: list[Mapping[str, Any]] = []
        for begins, ends in spans(since, now, SPAN_MAX):
            taken, number = 0, 0
            while True:
                number += 1
                asked = {
                    "type": kind, "startTime": stamp(begins), "endTime": stamp(ends), "current": str(number),
                    "size": str(TRANSFERS_PAGE),
                }  # fmt: skip
                answer = record((await self._venue.get(BETWEEN_WALLETS, asked, signed=True)).found)
                page = rows(answer.get("rows") or [])
                total = answer.get("total", 0)
                if not isinstance(total, int) or isinstance(total, bool):
                    raise Malformed(f"total: expected a count, found {total!r}")
                found += page
                taken += len(page)
                if not page or taken >= total:
                    break
        return found

    async def _sub_account_lines(self, since: datetime, now: datetime) -> list[Mapping[str, Any]]:
        found: dict[str, Mapping[str, Any]] = {}
        for begins, ends in spans(since, now, SPAN_MAX):
            asked = {"startTime": stamp(begins), "endTime": stamp(ends), "limit": str(SUB_PAGE)}
            page = rows((await self._venue.get(SUB_ACCOUNT, asked, signed=True)).found)
            found |= {identifier(row, "tranId"): row for row in page}
            if len(page) >= SUB_PAGE:
                raise FeedFailed(f"{SUB_ACCOUNT}: more transfers in {ends - begins} than one answer holds")
        return list(found.values())

    async def _money(self, coin: str, amount: Decimal, at: datetime) -> Decimal:
        return (amount * await self._worth(coin, at)).quantize(CENT_OF_CENTS)


def _second_of(row: Mapping[str, Any], key: str) -> datetime:
    """An instant written as text, UTC, to the second."""
    try:
        return datetime.strptime(text(row, key), "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
    except ValueError:
        raise Malformed(f"{key}: expected a time like 2026-01-31 18:00:00, found {row[key]!r}") from None
