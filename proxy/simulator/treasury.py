"""Money that comes and goes: deposits, withdrawals, transfers, dust, funding, and the histories that tell of it.

As Binance documents the wallet endpoints and USDⓈ-M income: page sizes, time limits and all. Tests move money
with the methods; what happened can be kept from the histories for a while (`history_lag_ms`), as a venue may.
https://developers.binance.com/docs/wallet
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from proxy.simulator import parameters as read
from proxy.simulator.account import SimAccount
from proxy.simulator.call import Call, Endpoint
from proxy.simulator.futures_shapes import exact
from proxy.simulator.market import ZERO, Prices
from proxy.simulator.rejection import Rejection

DAY_MS = 86_400_000
INCOME_TYPES = frozenset(
    {
        "TRANSFER", "WELCOME_BONUS", "REALIZED_PNL", "FUNDING_FEE", "COMMISSION", "INSURANCE_CLEAR",
        "REFERRAL_KICKBACK", "COMMISSION_REBATE", "API_REBATE", "CONTEST_REWARD", "CROSS_COLLATERAL_TRANSFER",
        "OPTIONS_PREMIUM_FEE", "OPTIONS_SETTLE_PROFIT", "INTERNAL_TRANSFER", "AUTO_EXCHANGE",
        "DELIVERED_SETTELMENT", "COIN_SWAP_DEPOSIT", "COIN_SWAP_WITHDRAW", "POSITION_LIMIT_INCREASE_FEE",
        "STRATEGY_UMFUTURES_TRANSFER", "FEE_RETURN", "BFUSD_REWARD",
    }
)  # fmt: skip
TRANSFER_TYPES = frozenset(
    kind
    for other in ("UMFUTURE", "CMFUTURE", "MARGIN", "FUNDING", "OPTION", "PORTFOLIO_MARGIN")
    for kind in (f"MAIN_{other}", f"{other}_MAIN")
)
DUST_FEE = Decimal("0.02")  # of what dust is converted into


class Treasury:
    """Moves money on accounts, and answers the histories."""

    def __init__(self, prices: Prices, next_id: Callable[[], int], now_ms: Callable[[], int]) -> None:
        self._prices = prices
        self._next_id = next_id
        self._now_ms = now_ms
        self.history_lag_ms = 0

    def endpoints(self) -> list[Endpoint]:
        """What it answers."""
        return [
            Endpoint("GET", "/fapi/v1/income", self.get_income, weight=30),
            Endpoint("GET", "/sapi/v1/capital/deposit/hisrec", self.get_deposits),
            Endpoint("GET", "/sapi/v1/capital/withdraw/history", self.get_withdrawals),
            Endpoint("GET", "/sapi/v1/asset/transfer", self.get_transfers),
            Endpoint("GET", "/sapi/v1/sub-account/transfer/subUserHistory", self.get_sub_transfers),
            Endpoint("GET", "/sapi/v1/asset/dribblet", self.get_dust),
        ]

    # Moving money

    def deposit(self, account: SimAccount, coin: str, amount: Decimal, *, timed: bool = True) -> str:
        """Coins arrive from the chain; `timed` says when they were credited, which older answers did not."""
        now_ms = self._now_ms()
        account.balance(coin).free += amount
        row = {
            "id": str(self._next_id()), "amount": f"{amount:f}", "coin": coin, "network": "BNB", "status": 1,
            "address": "sim", "addressTag": "", "txId": f"sim{self._next_id()}", "insertTime": now_ms - 60_000,
            "transferType": 0, "confirmTimes": "1/1", "unlockConfirm": 0, "walletType": 0,
        }
        if timed:
            row["completeTime"] = now_ms
        account.deposits.append({**row, "_at": now_ms})
        return str(row["id"])

    def withdraw(self, account: SimAccount, coin: str, amount: Decimal, fee: Decimal = ZERO) -> str:
        """Coins leave for the chain, the network's fee on top."""
        now_ms = self._now_ms()
        account.balance(coin).free -= amount + fee
        identifier = f"{self._next_id():032x}"
        account.withdrawals.append({
            "id": identifier, "amount": f"{amount:f}", "transactionFee": f"{fee:f}", "coin": coin, "status": 4,
            "address": "sim", "txId": "", "applyTime": _second(now_ms), "network": "BNB", "transferType": 0,
            "info": "", "confirmNo": 0, "walletType": 0, "txKey": "", "_at": now_ms,
        })  # fmt: skip
        return identifier

    def fail_withdrawal(self, account: SimAccount, identifier: str) -> None:
        """The chain did not take it: the coins are back."""
        row = next(row for row in account.withdrawals if row["id"] == identifier)
        account.balance(row["coin"]).free += Decimal(row["amount"]) + Decimal(row["transactionFee"])
        row["status"], row["completeTime"] = 5, _second(self._now_ms())

    def transfer(self, account: SimAccount, kind: str, coin: str, amount: Decimal) -> None:
        """Between wallets of one account; other wallets than spot and USDⓈ-M have no bounds here."""
        if kind not in TRANSFER_TYPES:
            raise ValueError(f"a transfer needs a type such as MAIN_UMFUTURE, found {kind}")
        now_ms, identifier = self._now_ms(), self._next_id()
        out = kind.startswith("MAIN_")
        account.balance(coin).free += -amount if out else amount
        if kind in ("MAIN_UMFUTURE", "UMFUTURE_MAIN"):
            self.income(account, "TRANSFER", amount if out else -amount, coin)
        account.transfers.append({
            "asset": coin, "amount": f"{amount:f}", "type": kind, "status": "CONFIRMED", "tranId": identifier,
            "timestamp": now_ms, "_at": now_ms,
        })  # fmt: skip

    def sub_transfer(self, account: SimAccount, coin: str, amount: Decimal) -> None:
        """From the master to this sub-account's spot wallet; a negative amount goes back."""
        now_ms = self._now_ms()
        account.is_sub_account = True
        account.balance(coin).free += amount
        account.sub_transfers.append({
            "counterParty": "master", "email": "master@sim", "type": 1 if amount > 0 else 2, "asset": coin,
            "qty": f"{abs(amount):f}", "fromAccountType": "SPOT", "toAccountType": "SPOT", "status": "SUCCESS",
            "tranId": self._next_id(), "time": now_ms, "_at": now_ms,
        })  # fmt: skip

    def convert_dust(self, account: SimAccount, coin: str) -> Decimal:
        """All of a coin into BNB, less the service charge; returns the BNB."""
        now_ms, held = self._now_ms(), account.balance(coin)
        amount, held.free = held.free, ZERO
        whole = (amount * self._prices.mark(f"{coin}USDT") / self._prices.mark("BNBUSDT")).quantize(Decimal("1e-8"))
        fee = (whole * DUST_FEE).quantize(Decimal("1e-8"))
        account.balance("BNB").free += whole - fee
        account.dust.append({
            "operateTime": now_ms, "totalTransferedAmount": f"{whole - fee:f}",
            "totalServiceChargeAmount": f"{fee:f}", "transId": self._next_id(),
            "userAssetDribbletDetails": [{
                "transId": self._next_id(), "serviceChargeAmount": f"{fee:f}", "amount": f"{amount:f}",
                "operateTime": now_ms, "transferedAmount": f"{whole - fee:f}", "fromAsset": coin,
            }],
        })  # fmt: skip
        return whole - fee

    def income(
        self, account: SimAccount, kind: str, amount: Decimal, coin: str = "USDT", symbol: str = ""
    ) -> None:
        """Anything that moves the USDⓈ-M wallet without a fill: a transfer, funding, a rebate, a bonus."""
        if kind not in INCOME_TYPES:
            raise ValueError(f"expected a type of income, found {kind}")
        if coin == "USDT":
            account.wallet += amount
        else:
            account.futures_coins[coin] = account.futures_coins.get(coin, ZERO) + amount
        account.income.append({
            "symbol": symbol, "incomeType": kind, "income": exact(amount), "asset": coin, "info": kind,
            "time": self._now_ms(), "tranId": self._next_id(), "tradeId": "",
        })  # fmt: skip

    # Histories

    def get_income(self, call: Call) -> object:
        """GET /fapi/v1/income: oldest first, of seven days where no time is asked for, and of three months at most."""
        kind, symbol = call.values.get("incomeType"), call.values.get("symbol")
        if kind is not None and kind not in INCOME_TYPES:
            raise Rejection(-1130, "Data sent for parameter 'incomeType' is not valid.")
        since, until = _times(call, default_ms=7 * DAY_MS, span_ms=None)
        limit, page = read.optional_integer(call.values, "limit") or 100, read.optional_integer(call.values, "page")
        if not 1 <= limit <= 1000:
            raise Rejection(-1130, "Data sent for parameter 'limit' is not valid.")
        oldest = call.now_ms - 90 * DAY_MS
        found = [
            line for line in call.account.income
            if kind in (None, line["incomeType"]) and symbol in (None, line["symbol"])
            and max(since, oldest) <= line["time"] <= until and line["time"] <= call.now_ms - self.history_lag_ms
        ]
        found.sort(key=lambda line: line["time"])
        first = limit * ((page or 1) - 1)
        return found[first : first + limit]

    def get_deposits(self, call: Call) -> object:
        """GET /sapi/v1/capital/deposit/hisrec: by the time they were first seen."""
        return self._offset_page(call, call.account.deposits, lambda row: int(row["insertTime"]))

    def get_withdrawals(self, call: Call) -> object:
        """GET /sapi/v1/capital/withdraw/history: by the time they were applied for."""
        return self._offset_page(call, call.account.withdrawals, lambda row: int(row["_at"]))

    def _offset_page(
        self, call: Call, found: list[dict[str, Any]], time_of: Callable[[dict[str, Any]], int]
    ) -> list[dict[str, Any]]:
        since, until = _times(call, default_ms=90 * DAY_MS, span_ms=90 * DAY_MS)
        limit, offset = read.optional_integer(call.values, "limit") or 1000, _offset(call)
        if limit > 1000:
            raise Rejection(-1130, "Data sent for parameter 'limit' is not valid.")
        told = [row for row in reversed(self._told(found, call.now_ms)) if since <= time_of(row) <= until]
        return [_public(row) for row in told[offset : offset + limit]]

    def get_transfers(self, call: Call) -> object:
        """GET /sapi/v1/asset/transfer: of one type, newest first, in numbered pages."""
        kind = read.one_of(call.values, "type", TRANSFER_TYPES, -1130, "Data sent for parameter 'type' is not valid.")
        since, until = _times(call, default_ms=7 * DAY_MS, span_ms=None)
        number = read.optional_integer(call.values, "current") or 1
        size = read.optional_integer(call.values, "size") or 10
        if not 1 <= size <= 100:
            raise Rejection(-1130, "Data sent for parameter 'size' is not valid.")
        told = [
            row for row in reversed(self._told(call.account.transfers, call.now_ms))
            if row["type"] == kind and since <= row["timestamp"] <= until
        ]
        answer: dict[str, Any] = {"total": len(told)}
        if told:  # Binance leaves the rows out where there are none
            answer["rows"] = [_public(row) for row in told[size * (number - 1) : size * number]]
        return answer

    def get_sub_transfers(self, call: Call) -> object:
        """GET /sapi/v1/sub-account/transfer/subUserHistory: for the key of a sub-account only."""
        if not call.account.is_sub_account:
            raise Rejection(-12022, "This endpoint is only for sub-account.")
        since, until = _times(call, default_ms=30 * DAY_MS, span_ms=None)
        limit = min(read.optional_integer(call.values, "limit") or 500, 500)
        told = [
            row for row in reversed(self._told(call.account.sub_transfers, call.now_ms))
            if since <= row["time"] <= until
        ]
        return [_public(row) for row in told[:limit]]

    def get_dust(self, call: Call) -> object:
        """GET /sapi/v1/asset/dribblet."""
        since, until = _times(call, default_ms=90 * DAY_MS, span_ms=None)
        found = [row for row in call.account.dust if since <= row["operateTime"] <= until]
        return {"total": len(found), "userAssetDribblets": found[-100:]}

    def _told(self, found: list[dict[str, Any]], now_ms: int) -> list[dict[str, Any]]:
        return [row for row in found if row["_at"] <= now_ms - self.history_lag_ms]


def _public(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if not name.startswith("_")}


def _times(call: Call, *, default_ms: int, span_ms: int | None) -> tuple[int, int]:
    since, until = (read.optional_integer(call.values, name) for name in ("startTime", "endTime"))
    if since is not None and until is not None:
        if until < since:
            raise Rejection(-1130, "Data sent for parameter 'startTime' is not valid.")
        if span_ms is not None and until - since > span_ms:
            raise Rejection(-1130, "The time between startTime and endTime is too long.")
    if until is None:
        until = call.now_ms if since is None or span_ms is None else min(call.now_ms, since + span_ms)
    return (until - default_ms if since is None else since), until


def _offset(call: Call) -> int:
    return read.optional_integer(call.values, "offset") or 0


def _second(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
