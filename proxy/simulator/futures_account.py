"""The USDⓈ-M account: its state, and the settings that change how positions are margined."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from proxy.simulator import parameters as read
from proxy.simulator.account import SimAccount, SimPosition
from proxy.simulator.call import Call, Endpoint
from proxy.simulator.futures import Futures
from proxy.simulator.futures_reading import symbol_of
from proxy.simulator.futures_shapes import exact, plain
from proxy.simulator.market import FUTURES, ZERO, Symbol
from proxy.simulator.rejection import Rejection

DONE = {"code": 200, "msg": "success"}
LISTEN_KEY_MS = 60 * 60 * 1000
BRACKET_NOTIONALS = (Decimal(50_000), Decimal(600_000), Decimal(3_000_000), Decimal(12_000_000), Decimal(70_000_000))


class FuturesAccount:
    """Account reads and settings."""

    def __init__(self, desk: Futures) -> None:
        self._desk = desk

    def endpoints(self) -> list[Endpoint]:
        """What it answers."""
        return [
            Endpoint("GET", "/fapi/v2/account", self.get_account_v2, weight=5),
            Endpoint("GET", "/fapi/v3/account", self.get_account_v3, weight=5),
            Endpoint("GET", "/fapi/v2/positionRisk", self.get_positions_v2, weight=5),
            Endpoint("GET", "/fapi/v3/positionRisk", self.get_positions_v3, weight=5),
            Endpoint("GET", "/fapi/v2/balance", self.get_balance, weight=5),
            Endpoint("GET", "/fapi/v3/balance", self.get_balance, weight=5),
            Endpoint("GET", "/fapi/v1/symbolConfig", self.get_symbol_config, weight=5),
            Endpoint("GET", "/fapi/v1/accountConfig", self.get_account_config, weight=5),
            Endpoint("GET", "/fapi/v1/leverageBracket", self.get_brackets),
            Endpoint("GET", "/fapi/v1/commissionRate", self.get_commission, weight=20),
            Endpoint("GET", "/fapi/v1/positionSide/dual", self.get_dual, weight=30),
            Endpoint("POST", "/fapi/v1/positionSide/dual", self.post_dual),
            Endpoint("GET", "/fapi/v1/multiAssetsMargin", self.get_multi_assets, weight=30),
            Endpoint("POST", "/fapi/v1/multiAssetsMargin", self.post_multi_assets),
            Endpoint("POST", "/fapi/v1/leverage", self.post_leverage),
            Endpoint("POST", "/fapi/v1/marginType", self.post_margin_type),
            Endpoint("POST", "/fapi/v1/positionMargin", self.post_position_margin),
            Endpoint("POST", "/fapi/v1/listenKey", self.post_listen_key, security="key"),
            Endpoint("PUT", "/fapi/v1/listenKey", self.put_listen_key, security="key"),
            Endpoint("DELETE", "/fapi/v1/listenKey", self.delete_listen_key, security="key"),
        ]

    # State

    def _symbols(self, call: Call) -> list[Symbol]:
        return [symbol_of(call.values)] if call.values.get("symbol") else list(FUTURES.values())

    def _sides(self, account: SimAccount) -> tuple[str, ...]:
        # In hedge mode Binance still lists the BOTH row, at zero.
        return ("BOTH", "LONG", "SHORT") if account.hedge_mode else ("BOTH",)

    def _held(self, account: SimAccount, symbol: Symbol, side: str) -> SimPosition:
        return account.positions.get((symbol.name, side)) or SimPosition()

    def _margins(self, account: SimAccount, symbol: Symbol, position: SimPosition) -> dict[str, str]:
        mark = self._desk.prices.mark(symbol.name)
        notional = abs(position.amount) * mark
        initial = notional / account.leverage(symbol.name)
        is_first = position is self._held(account, symbol, "BOTH") or position.amount > 0
        opening = max(ZERO, self._desk.margin_of(account, symbol.name) - initial) if is_first else ZERO
        isolated = account.margin_type(symbol.name) == "ISOLATED"
        return {
            "unrealizedProfit": exact(position.unrealised(mark)),
            "isolatedMargin": exact(position.isolated_margin + position.unrealised(mark)) if isolated else "0.00000000",
            "isolatedWallet": exact(position.isolated_margin) if isolated else "0",
            "notional": exact(position.amount * mark),
            "initialMargin": exact(initial + opening),
            "maintMargin": exact(notional * Decimal("0.004")),
            "positionInitialMargin": exact(initial),
            "openOrderInitialMargin": exact(opening),
        }

    def _totals(self, account: SimAccount) -> dict[str, str]:
        profit = self._desk.equity(account) - account.wallet
        used = self._desk.margin_used(account)
        positions = sum(
            (abs(p.amount) * self._desk.prices.mark(name) / account.leverage(name)
             for (name, _), p in account.positions.items()), ZERO)
        available = exact(self._desk.available(account))
        return {
            "totalInitialMargin": exact(used),
            "totalMaintMargin": exact(positions * Decimal("0.004")),
            "totalWalletBalance": exact(account.wallet),
            "totalUnrealizedProfit": exact(profit),
            "totalMarginBalance": exact(account.wallet + profit),
            "totalPositionInitialMargin": exact(positions),
            "totalOpenOrderInitialMargin": exact(max(ZERO, used - positions)),
            "totalCrossWalletBalance": exact(account.wallet),
            "totalCrossUnPnl": exact(profit),
            "availableBalance": available,
            "maxWithdrawAmount": available,
        }

    def _asset(self, account: SimAccount, now_ms: int) -> dict[str, Any]:
        totals = self._totals(account)
        return {
            "asset": "USDT",
            "walletBalance": totals["totalWalletBalance"],
            "unrealizedProfit": totals["totalUnrealizedProfit"],
            "marginBalance": totals["totalMarginBalance"],
            "maintMargin": totals["totalMaintMargin"],
            "initialMargin": totals["totalInitialMargin"],
            "positionInitialMargin": totals["totalPositionInitialMargin"],
            "openOrderInitialMargin": totals["totalOpenOrderInitialMargin"],
            "crossWalletBalance": totals["totalCrossWalletBalance"],
            "crossUnPnl": totals["totalCrossUnPnl"],
            "availableBalance": totals["availableBalance"],
            "maxWithdrawAmount": totals["maxWithdrawAmount"],
            "marginAvailable": True,
            "updateTime": now_ms,
        }

    def get_account_v2(self, call: Call) -> object:
        """GET /fapi/v2/account: every symbol is listed, held or not."""
        account = call.account
        positions = []
        for symbol in FUTURES.values():
            for side in self._sides(account):
                position = self._held(account, symbol, side)
                margins = self._margins(account, symbol, position)
                positions.append({
                    "symbol": symbol.name, **margins, "leverage": str(account.leverage(symbol.name)),
                    "isolated": account.margin_type(symbol.name) == "ISOLATED",
                    "entryPrice": plain(position.entry_price), "breakEvenPrice": plain(position.entry_price),
                    "maxNotional": plain(BRACKET_NOTIONALS[-1]), "bidNotional": "0", "askNotional": "0",
                    "positionSide": side, "positionAmt": _amount(symbol, position),
                    "updateTime": position.updated_ms,
                })
        return {
            "feeTier": 0, "feeBurn": True, "canTrade": True, "canDeposit": True, "canWithdraw": True,
            "updateTime": 0, "multiAssetsMargin": account.multi_assets, "tradeGroupId": -1,
            **self._totals(account), "assets": [self._asset(account, call.now_ms)], "positions": positions,
        }

    def get_account_v3(self, call: Call) -> object:
        """GET /fapi/v3/account: only symbols with a position or open orders."""
        account = call.account
        positions = [
            {
                "symbol": symbol.name, "positionSide": side, "positionAmt": _amount(symbol, position),
                **self._margins(account, symbol, position), "updateTime": position.updated_ms,
            }
            for symbol, side, position in self._shown(account)
        ]
        asset = self._asset(account, call.now_ms)
        del asset["marginAvailable"]
        others = [_coin(coin, amount, call.now_ms) for coin, amount in sorted(account.futures_coins.items()) if amount]
        return {**self._totals(account), "assets": [asset, *others], "positions": positions}

    def _shown(self, account: SimAccount) -> list[tuple[Symbol, str, SimPosition]]:
        waiting = {
            (order.symbol.name, order.position_side)
            for book in ("futures", "algo") for order in account.open_orders[book].values()
        }
        return [
            (symbol, side, position)
            for symbol in FUTURES.values() for side in self._sides(account)
            if (position := self._held(account, symbol, side)).amount or (symbol.name, side) in waiting
        ]

    def get_positions_v2(self, call: Call) -> object:
        """GET /fapi/v2/positionRisk: every symbol is listed, held or not."""
        account, wanted = call.account, self._symbols(call)
        return [
            {
                **self._risk(account, symbol, side, self._held(account, symbol, side)),
                "leverage": str(account.leverage(symbol.name)), "maxNotionalValue": plain(BRACKET_NOTIONALS[-1]),
                "marginType": "isolated" if account.margin_type(symbol.name) == "ISOLATED" else "cross",
                "isAutoAddMargin": "false",
            }
            for symbol in wanted for side in self._sides(account)
        ]

    def get_positions_v3(self, call: Call) -> object:
        """GET /fapi/v3/positionRisk: only symbols with a position or open orders."""
        account, wanted = call.account, self._symbols(call)
        answer = []
        for symbol, side, position in self._shown(account):
            if symbol not in wanted:
                continue
            margins = self._margins(account, symbol, position)
            answer.append({
                **self._risk(account, symbol, side, position),
                "marginAsset": "USDT", "initialMargin": margins["initialMargin"],
                "maintMargin": margins["maintMargin"], "positionInitialMargin": margins["positionInitialMargin"],
                "openOrderInitialMargin": margins["openOrderInitialMargin"], "adl": 1 if position.amount else 0,
                "bidNotional": "0", "askNotional": "0",
            })
        return answer

    def _risk(self, account: SimAccount, symbol: Symbol, side: str, position: SimPosition) -> dict[str, Any]:
        mark = self._desk.prices.mark(symbol.name)
        margins = self._margins(account, symbol, position)
        return {
            "symbol": symbol.name, "positionSide": side, "positionAmt": _amount(symbol, position),
            "entryPrice": plain(position.entry_price), "breakEvenPrice": plain(position.entry_price),
            "markPrice": exact(mark), "unRealizedProfit": margins["unrealizedProfit"],
            "liquidationPrice": plain(_liquidation(self._desk.equity(account), position, mark)),
            "isolatedMargin": margins["isolatedMargin"], "notional": margins["notional"],
            "isolatedWallet": margins["isolatedWallet"], "updateTime": position.updated_ms,
        }

    def get_balance(self, call: Call) -> object:
        """GET /fapi/v2/balance and /fapi/v3/balance."""
        totals = self._totals(call.account)
        return [{
            "accountAlias": "sim", "asset": "USDT", "balance": totals["totalWalletBalance"],
            "crossWalletBalance": totals["totalCrossWalletBalance"], "crossUnPnl": totals["totalCrossUnPnl"],
            "availableBalance": totals["availableBalance"], "maxWithdrawAmount": totals["maxWithdrawAmount"],
            "marginAvailable": True, "updateTime": call.now_ms,
        }]

    def get_symbol_config(self, call: Call) -> object:
        """GET /fapi/v1/symbolConfig."""
        return [
            {
                "symbol": symbol.name, "marginType": call.account.margin_type(symbol.name),
                "isAutoAddMargin": False, "leverage": call.account.leverage(symbol.name),
                "maxNotionalValue": plain(BRACKET_NOTIONALS[-1]),
            }
            for symbol in self._symbols(call)
        ]

    def get_account_config(self, call: Call) -> object:
        """GET /fapi/v1/accountConfig."""
        return {
            "feeTier": 0, "canTrade": True, "canDeposit": True, "canWithdraw": True,
            "dualSidePosition": call.account.hedge_mode, "updateTime": 0,
            "multiAssetsMargin": call.account.multi_assets, "tradeGroupId": -1,
        }

    def get_brackets(self, call: Call) -> object:
        """GET /fapi/v1/leverageBracket."""
        answer = [{"symbol": symbol.name, "notionalCoef": 1.0, "brackets": _brackets(symbol)}
                  for symbol in self._symbols(call)]
        return answer[0] if call.values.get("symbol") else answer

    def get_commission(self, call: Call) -> object:
        """GET /fapi/v1/commissionRate."""
        rate = plain(self._desk.fee_rate)
        return {"symbol": symbol_of(call.values).name, "makerCommissionRate": rate, "takerCommissionRate": rate}

    # Settings

    def get_dual(self, call: Call) -> object:
        """GET /fapi/v1/positionSide/dual."""
        return {"dualSidePosition": call.account.hedge_mode}

    def post_dual(self, call: Call) -> object:
        """POST /fapi/v1/positionSide/dual."""
        account = call.account
        read.text(call.values, "dualSidePosition")
        wanted = read.boolean(call.values, "dualSidePosition")
        if wanted == account.hedge_mode:
            raise Rejection(-4059, "No need to change position side.")
        if account.open_orders["futures"] or account.open_orders["algo"]:
            raise Rejection(-4067, "Position side cannot be changed if there exists open orders.")
        if any(position.amount for position in account.positions.values()):
            raise Rejection(-4068, "Position side cannot be changed if there exists position.")
        account.hedge_mode = wanted
        return DONE

    def get_multi_assets(self, call: Call) -> object:
        """GET /fapi/v1/multiAssetsMargin."""
        return {"multiAssetsMargin": call.account.multi_assets}

    def post_multi_assets(self, call: Call) -> object:
        """POST /fapi/v1/multiAssetsMargin."""
        read.text(call.values, "multiAssetsMargin")
        wanted = read.boolean(call.values, "multiAssetsMargin")
        if wanted == call.account.multi_assets:
            raise Rejection(-4171, "No need to change multi-assets mode.")
        if wanted and "ISOLATED" in call.account.margin_types.values():
            raise Rejection(-4168, "Unable to adjust to Multi-Assets mode with symbols of USDⓈ-M Futures "
                                   "under isolated-margin mode.")
        call.account.multi_assets = wanted
        return DONE

    def post_leverage(self, call: Call) -> object:
        """POST /fapi/v1/leverage."""
        symbol, account = symbol_of(call.values), call.account
        leverage = read.integer(call.values, "leverage")
        if not 1 <= leverage <= symbol.leverage_max:
            raise Rejection(-4028, f"Leverage {leverage} is not valid")
        before = account.leverage(symbol.name)
        cap = next(b["notionalCap"] for b in reversed(_brackets(symbol)) if b["initialLeverage"] >= leverage)
        held = sum((abs(p.amount) for (name, _), p in account.positions.items() if name == symbol.name), ZERO)
        if held * self._desk.prices.mark(symbol.name) > cap:
            raise Rejection(-2027, "Exceeded the maximum allowable position at current leverage.")
        account.leverages[symbol.name] = leverage
        if leverage < before and self._desk.margin_used(account) > self._desk.equity(account):
            account.leverages[symbol.name] = before
            raise Rejection(-2028, "Leverage is smaller than permitted: insufficient margin balance.")
        return {"leverage": leverage, "maxNotionalValue": str(cap), "symbol": symbol.name}

    def post_margin_type(self, call: Call) -> object:
        """POST /fapi/v1/marginType."""
        symbol, account = symbol_of(call.values), call.account
        wanted = read.one_of(
            call.values, "marginType", frozenset({"ISOLATED", "CROSSED"}), -4055, "Invalid margin type.")
        if wanted == account.margin_type(symbol.name):
            raise Rejection(-4046, "No need to change margin type.")
        if account.multi_assets and wanted == "ISOLATED":
            raise Rejection(-4168, "Unable to adjust to isolated-margin mode under the Multi-Assets mode.")
        books = (*account.open_orders["futures"].values(), *account.open_orders["algo"].values())
        if any(order.symbol is symbol for order in books):
            raise Rejection(-4047, "Margin type cannot be changed if there exists open orders.")
        if any(p.amount for (name, _), p in account.positions.items() if name == symbol.name):
            raise Rejection(-4048, "Margin type cannot be changed if there exists position.")
        account.margin_types[symbol.name] = wanted
        return DONE

    def post_position_margin(self, call: Call) -> object:
        """POST /fapi/v1/positionMargin: 1 adds, 2 takes away."""
        symbol, account = symbol_of(call.values), call.account
        amount, kind = read.decimal(call.values, "amount"), read.integer(call.values, "type")
        side = call.values.get("positionSide") or "BOTH"
        if (side == "BOTH") == account.hedge_mode:
            raise Rejection(-4061, "Order's position side does not match user's setting.")
        if kind not in (1, 2):
            raise Rejection(-1130, "Data sent for parameter 'type' is not valid.")
        if not amount > 0:
            raise Rejection(-4054, "Cannot add position margin: the amount must be positive.")
        position = account.positions.get((symbol.name, side))
        if account.margin_type(symbol.name) != "ISOLATED" or position is None or not position.amount:
            raise Rejection(-4054, "Cannot add position margin: position is 0 or not isolated.")
        least = abs(position.amount) * self._desk.prices.mark(symbol.name) / account.leverage(symbol.name)
        if kind == 1 and amount > self._desk.available(account):
            raise Rejection(-4050, "Cross balance insufficient.")
        if kind == 2 and position.isolated_margin - amount < least:
            raise Rejection(-4051, "Isolated balance insufficient.")
        position.isolated_margin += amount if kind == 1 else -amount
        return {"amount": float(amount), "code": 200, "msg": "Successfully modify position margin.", "type": kind}

    def post_listen_key(self, call: Call) -> object:
        """POST /fapi/v1/listenKey: the active key, good for another hour, or a new one."""
        if call.account.listen_key is None or call.now_ms >= call.account.listen_key_until_ms:
            call.account.listen_key = f"simlisten{self._desk.next_id():055d}"
        call.account.listen_key_until_ms = call.now_ms + LISTEN_KEY_MS
        return {"listenKey": call.account.listen_key}

    def put_listen_key(self, call: Call) -> object:
        """PUT /fapi/v1/listenKey."""
        if call.account.listen_key is None or call.now_ms >= call.account.listen_key_until_ms:
            raise Rejection(-1125, "This listenKey does not exist.")
        call.account.listen_key_until_ms = call.now_ms + LISTEN_KEY_MS
        return {"listenKey": call.account.listen_key}

    def delete_listen_key(self, call: Call) -> object:
        """DELETE /fapi/v1/listenKey."""
        call.account.listen_key = None
        return {}


def _coin(coin: str, amount: Decimal, now_ms: int) -> dict[str, Any]:
    """A coin that lies in the wallet and is no margin: single-asset mode counts USDT alone."""
    nothing, held = exact(ZERO), exact(amount)
    return {
        "asset": coin, "walletBalance": held, "unrealizedProfit": nothing, "marginBalance": held,
        "maintMargin": nothing, "initialMargin": nothing, "positionInitialMargin": nothing,
        "openOrderInitialMargin": nothing, "crossWalletBalance": held, "crossUnPnl": nothing,
        "availableBalance": held, "maxWithdrawAmount": held, "updateTime": now_ms,
    }


def _amount(symbol: Symbol, position: SimPosition) -> str:
    return f"{position.amount:.{symbol.quantity_precision}f}"


def _liquidation(equity: Decimal, position: SimPosition, mark: Decimal) -> Decimal:
    """Where the account's equity would be gone, with everything else standing still."""
    if not position.amount:
        return ZERO
    return max(ZERO, mark - equity / position.amount).quantize(Decimal("0.00000001"))


def _brackets(symbol: Symbol) -> list[dict[str, Any]]:
    answer, floor = [], ZERO
    for index, cap in enumerate(BRACKET_NOTIONALS):
        answer.append({
            "bracket": index + 1, "initialLeverage": max(1, symbol.leverage_max // 2**index),
            "notionalCap": int(cap), "notionalFloor": int(floor),
            "maintMarginRatio": round(0.004 * 2**index, 4), "cum": 0.0,
        })
        floor = cap
    return answer
