"""What the exchange pushes, field by field as Binance writes it.

https://developers.binance.com/docs/derivatives/usds-margined-futures/user-data-streams
https://github.com/binance/binance-spot-api-docs/blob/master/user-data-stream.md
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from proxy.simulator.account import Balance, SimAccount, SimOrder, SimOrderList, SimPosition, SimTrade
from proxy.simulator.futures_shapes import exact, plain
from proxy.simulator.market import ZERO, Quote, Symbol
from proxy.simulator.spot_shapes import money

Event = dict[str, Any]


def order_trade_update(
    order: SimOrder, execution: str, status: str, executed: Decimal, now_ms: int, at_ms: int,
    fill: SimTrade | None = None,
) -> Event:
    """ORDER_TRADE_UPDATE: what happened to a futures order, and how much of it has traded by then."""
    digits = order.symbol.quantity_precision
    row: Event = {
        "s": order.symbol.name, "c": order.client_order_id, "S": order.side, "o": order.type, "f": order.time_in_force,
        "q": f"{order.quantity:.{digits}f}", "p": plain(order.price), "ap": plain(order.average_price),
        "sp": plain(order.stop_price), "x": execution, "X": status, "i": order.order_id,
        "l": plain(fill.quantity) if fill else "0", "z": f"{executed:.{digits}f}",
        "L": plain(fill.price) if fill else "0", "T": at_ms, "t": fill.trade_id if fill else 0, "b": "0", "a": "0",
        "m": fill.is_maker if fill else False, "R": order.reduce_only, "wt": order.working_type, "ot": order.type,
        "ps": order.position_side, "cp": order.close_position, "rp": plain(fill.realised) if fill else "0",
        "pP": order.price_protect, "si": 0, "ss": 0, "V": order.prevention_mode, "pm": order.price_match,
        "gtd": order.good_till_ms, "er": "0",
    }
    if fill is not None and fill.fee:
        row["N"], row["n"] = fill.fee_asset, exact(fill.fee)
    return {"e": "ORDER_TRADE_UPDATE", "E": now_ms, "T": at_ms, "o": row}


def account_update(
    reason: str, wallet: Decimal, change: Decimal, held: Iterable[tuple[str, str, SimPosition, Decimal, Decimal]],
    now_ms: int, at_ms: int,
) -> Event:
    """ACCOUNT_UPDATE: the wallet, and those positions that changed (symbol, side, position, amount, mark)."""
    return {
        "e": "ACCOUNT_UPDATE", "E": now_ms, "T": at_ms,
        "a": {
            "m": reason,
            "B": [{"a": "USDT", "wb": exact(wallet), "cw": exact(wallet), "bc": exact(change)}],
            "P": [
                {
                    "s": symbol, "pa": plain(amount), "ep": plain(position.entry_price),
                    "bep": plain(position.entry_price), "cr": "0",
                    "up": exact((mark - position.entry_price) * amount), "mt": "cross", "iw": "0", "ps": side,
                }
                for symbol, side, position, amount, mark in held
            ],
        },
    }  # fmt: skip


def algo_update(order: SimOrder, status: str, now_ms: int, actual: SimOrder | None) -> Event:
    """ALGO_UPDATE: a conditional order's own life, before and after it triggers."""
    return {
        "e": "ALGO_UPDATE", "T": order.updated_ms, "E": now_ms,
        "o": {
            "caid": order.client_order_id, "aid": order.order_id, "at": "CONDITIONAL", "o": order.type,
            "s": order.symbol.name, "S": order.side, "ps": order.position_side, "f": order.time_in_force,
            "q": plain(order.quantity), "X": status, "ai": str(order.actual_order_id or "") if actual else "",
            "ap": plain(actual.average_price) if actual else "0.00000",
            "aq": plain(actual.executed) if actual else "0.00000", "act": actual.type if actual else "0",
            "tp": plain(order.stop_price), "p": plain(order.price), "V": order.prevention_mode,
            "wt": order.working_type, "pm": order.price_match, "cp": order.close_position, "pP": order.price_protect,
            "R": order.reduce_only, "tt": order.updated_ms if order.triggered else 0, "gtd": order.good_till_ms,
            "rm": "",
        },
    }  # fmt: skip


def leverage_update(symbol: str, leverage: int, now_ms: int) -> Event:
    """ACCOUNT_CONFIG_UPDATE after a change of leverage."""
    return {"e": "ACCOUNT_CONFIG_UPDATE", "E": now_ms, "T": now_ms, "ac": {"s": symbol, "l": leverage}}


def assets_mode_update(now_ms: int, *, multi_assets: bool) -> Event:
    """ACCOUNT_CONFIG_UPDATE after a change of the multi-assets mode."""
    return {"e": "ACCOUNT_CONFIG_UPDATE", "E": now_ms, "T": now_ms, "ai": {"j": multi_assets}}


def margin_call(account: SimAccount, marks: dict[str, Decimal], now_ms: int) -> Event:
    """MARGIN_CALL: the positions at risk."""
    return {
        "e": "MARGIN_CALL", "E": now_ms, "cw": exact(account.wallet),
        "p": [
            {
                "s": symbol, "ps": side, "pa": plain(position.amount), "mt": "CROSSED", "iw": "0",
                "mp": plain(marks[symbol]), "up": exact(position.unrealised(marks[symbol])),
                "mm": exact(abs(position.amount) * marks[symbol] * Decimal("0.004")),
            }
            for (symbol, side), position in account.positions.items() if position.amount
        ],
    }  # fmt: skip


def listen_key_expired(key: str, now_ms: int) -> Event:
    """listenKeyExpired: the last thing such a stream says."""
    return {"e": "listenKeyExpired", "E": now_ms, "listenKey": key}


def execution_report(
    order: SimOrder, execution: str, status: str, executed: Decimal, quote_executed: Decimal, execution_id: int,
    now_ms: int, at_ms: int, fill: SimTrade | None = None,
) -> Event:
    """executionReport: what happened to a spot order."""
    event: Event = {
        "e": "executionReport", "E": now_ms, "s": order.symbol.name, "c": order.client_order_id, "S": order.side,
        "o": order.type, "f": order.time_in_force, "q": money(order.quantity), "p": money(order.price),
        "P": money(order.stop_price), "F": money(order.iceberg_quantity), "g": order.list_id,
        "C": order.client_order_id if execution == "CANCELED" else "", "x": execution, "X": status, "r": "NONE",
        "i": order.order_id, "l": money(fill.quantity if fill else ZERO), "z": money(executed),
        "L": money(fill.price if fill else ZERO), "n": money(fill.fee) if fill else "0",
        "N": fill.fee_asset if fill else None, "T": at_ms, "t": fill.trade_id if fill else -1, "I": execution_id,
        "w": not order.is_conditional and status in ("NEW", "PARTIALLY_FILLED"), "m": fill.is_maker if fill else False,
        "M": False, "O": order.created_ms, "Z": money(quote_executed),
        "Y": money(fill.quantity * fill.price if fill else ZERO), "Q": money(order.quote_quantity),
        "W": order.created_ms, "V": order.prevention_mode,
    }
    if order.trailing_delta is not None:
        event["d"] = order.trailing_delta
    return event


def account_position(balances: Iterable[tuple[str, Balance]], now_ms: int, at_ms: int) -> Event:
    """outboundAccountPosition: the balances that may have changed."""
    return {
        "e": "outboundAccountPosition", "E": now_ms, "u": at_ms,
        "B": [{"a": asset, "f": money(found.free), "l": money(found.locked)} for asset, found in balances],
    }


def balance_update(asset: str, change: Decimal, now_ms: int) -> Event:
    """balanceUpdate: a deposit, withdrawal or transfer."""
    return {"e": "balanceUpdate", "E": now_ms, "a": asset, "d": money(change), "T": now_ms}


def list_status(group: SimOrderList, orders: list[SimOrder], now_ms: int) -> Event:
    """listStatus: orders that belong together were placed or are done."""
    return {
        "e": "listStatus", "E": now_ms, "s": group.symbol, "g": group.list_id, "c": group.kind,
        "l": "ALL_DONE" if group.is_done else "EXEC_STARTED", "L": "ALL_DONE" if group.is_done else "EXECUTING",
        "r": "NONE", "C": group.client_id, "T": now_ms,
        "O": [{"s": one.symbol.name, "i": one.order_id, "c": one.client_order_id} for one in orders],
    }


def mark_price(symbol: Symbol, mark: Decimal, now_ms: int) -> Event:
    """One row of !markPrice@arr."""
    return {
        "e": "markPriceUpdate", "E": now_ms, "s": symbol.name, "p": exact(mark), "i": exact(mark), "P": exact(mark),
        "r": "0.00010000", "T": now_ms - now_ms % 28_800_000 + 28_800_000,
    }  # fmt: skip


def mini_ticker(symbol: Symbol, mark: Decimal, now_ms: int) -> Event:
    """One row of !miniTicker@arr."""
    price = money(mark)
    return {
        "e": "24hrMiniTicker", "E": now_ms, "s": symbol.name, "c": price, "o": price, "h": price, "l": price,
        "v": "1000.00000000", "q": "1000.00000000",
    }  # fmt: skip


def book_ticker(symbol: Symbol, quote: Quote, update_id: int, now_ms: int) -> Event:
    """One message of the futures !bookTicker."""
    return {
        "e": "bookTicker", "u": update_id, "s": symbol.name, "b": plain(quote.bid), "B": "10", "a": plain(quote.ask),
        "A": "10", "T": now_ms, "E": now_ms,
    }  # fmt: skip
