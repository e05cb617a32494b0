"""Public market data, and the reads that real clients make before their first order."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from proxy.simulator import parameters as read
from proxy.simulator.call import Call, Endpoint, Handler
from proxy.simulator.futures_shapes import plain
from proxy.simulator.market import FUTURES, SPOT, ZERO, Prices, Symbol
from proxy.simulator.rejection import Rejection
from proxy.simulator.spot_shapes import money

Shape = Callable[[Symbol, Call], object]

SPOT_LIMITS = [
    {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 6000},
    {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 100},
    {"rateLimitType": "ORDERS", "interval": "DAY", "intervalNum": 1, "limit": 200000},
]
FUTURES_LIMITS = [
    {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 2400},
    {"rateLimitType": "ORDERS", "interval": "MINUTE", "intervalNum": 1, "limit": 1200},
    {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 300},
]


class MarketData:
    """Prices, books and exchangeInfo of both markets."""

    def __init__(self, prices: Prices) -> None:
        self._prices = prices

    def endpoints(self) -> list[Endpoint]:
        """What it answers."""
        both = [
            Endpoint("GET", f"/{root}/{path}", handle, security="none", weight=weight)
            for root, symbols in (("api/v3", SPOT), ("fapi/v1", FUTURES))
            for path, handle, weight in (
                ("ping", _nothing, 1),
                ("time", lambda call: {"serverTime": call.now_ms}, 1),
                ("ticker/price", self._for(self._price, symbols), 2),
                ("ticker/bookTicker", self._for(self._book_ticker, symbols), 2),
                ("ticker/24hr", self._for(self._day, symbols), 2),
                ("depth", self._one(self._depth, symbols), 5),
                ("trades", self._one(self._no_trades, symbols), 25),
            )
        ]
        empty: dict[str, Any] = {"symbols": [], "optionSymbols": [], "optionContracts": [], "optionAssets": []}
        return [
            *both,
            Endpoint("GET", "/api/v3/exchangeInfo", self.get_spot_info, security="none", weight=20),
            Endpoint("GET", "/fapi/v1/exchangeInfo", self.get_futures_info, security="none"),
            Endpoint("GET", "/fapi/v1/premiumIndex", self._for(self._premium, FUTURES), security="none"),
            Endpoint("GET", "/fapi/v2/ticker/price", self._for(self._price, FUTURES), security="none"),
            Endpoint("GET", "/api/v3/avgPrice", self._one(self._average, SPOT), security="none", weight=2),
            Endpoint("GET", "/dapi/v1/exchangeInfo",
                     lambda call: {"timezone": "UTC", "serverTime": call.now_ms, "rateLimits": [],
                                   "exchangeFilters": [], "symbols": []}, security="none"),
            Endpoint("GET", "/eapi/v1/exchangeInfo",
                     lambda call: {"timezone": "UTC", "serverTime": call.now_ms, "rateLimits": [], **empty},
                     security="none"),
            Endpoint("GET", "/sapi/v1/margin/allPairs", _none, security="key"),
            Endpoint("GET", "/sapi/v1/margin/isolated/allPairs", _none, security="signed"),
            Endpoint("GET", "/sapi/v1/margin/allAssets", _none, security="key"),
            Endpoint("GET", "/sapi/v1/capital/config/getall", self.get_coins, weight=10),
            Endpoint("GET", "/sapi/v1/account/apiRestrictions", self.get_restrictions),
            Endpoint("GET", "/sapi/v1/asset/tradeFee", self.get_trade_fees),
            Endpoint("GET", "/sapi/v1/system/status", _normal, security="none"),
        ]

    def _wanted(self, call: Call, symbols: dict[str, Symbol]) -> Symbol | None:
        name = call.values.get("symbol")
        if not name:
            return None
        if name not in symbols:
            raise Rejection(-1121, "Invalid symbol.")
        return symbols[name]

    def _for(self, shape: Shape, symbols: dict[str, Symbol]) -> Handler:
        def answer(call: Call) -> object:
            if (wanted := self._wanted(call, symbols)) is not None:
                return shape(wanted, call)
            chosen = list(symbols.values())
            if call.values.get("symbols"):
                chosen = _several(call, symbols)
            return [shape(symbol, call) for symbol in chosen]

        return answer

    def _one(self, shape: Shape, symbols: dict[str, Symbol]) -> Handler:
        def answer(call: Call) -> object:
            read.text(call.values, "symbol")
            wanted = self._wanted(call, symbols)
            assert wanted is not None
            return shape(wanted, call)

        return answer

    def _write(self, symbol: Symbol, price: Decimal) -> str:
        return money(price) if symbol.market == "spot" else f"{price:.{symbol.price_precision}f}"

    def _price(self, symbol: Symbol, call: Call) -> object:
        answer: dict[str, Any] = {"symbol": symbol.name, "price": self._write(symbol, self._prices.mark(symbol.name))}
        return answer if symbol.market == "spot" else {**answer, "time": call.now_ms}

    def _book_ticker(self, symbol: Symbol, call: Call) -> dict[str, Any]:
        quote = self._prices.quote(symbol)
        answer: dict[str, Any] = {
            "symbol": symbol.name,
            "bidPrice": self._write(symbol, quote.bid), "bidQty": "1000.00000000",
            "askPrice": self._write(symbol, quote.ask), "askQty": "1000.00000000",
        }
        if symbol.market == "futures":
            answer.update(time=call.now_ms, lastUpdateId=call.now_ms)
        return answer

    def _day(self, symbol: Symbol, call: Call) -> object:
        price = self._write(symbol, self._prices.mark(symbol.name))
        answer = {
            **self._book_ticker(symbol, call), "priceChange": "0.00", "priceChangePercent": "0.00",
            "weightedAvgPrice": price, "prevClosePrice": price, "lastPrice": price, "lastQty": "1.00",
            "openPrice": price, "highPrice": price, "lowPrice": price, "volume": "100000.00",
            "quoteVolume": plain(self._prices.mark(symbol.name) * 100000), "openTime": call.now_ms - 86_400_000,
            "closeTime": call.now_ms, "firstId": 1, "lastId": 2, "count": 2,
        }
        answer.pop("time", None)
        answer.pop("lastUpdateId", None)
        return answer

    def _average(self, symbol: Symbol, call: Call) -> object:
        return {"mins": 5, "price": money(self._prices.mark(symbol.name)), "closeTime": call.now_ms}

    def _premium(self, symbol: Symbol, call: Call) -> object:
        mark = f"{self._prices.mark(symbol.name):.8f}"
        return {
            "symbol": symbol.name, "markPrice": mark, "indexPrice": mark, "estimatedSettlePrice": mark,
            "lastFundingRate": "0.00000000", "interestRate": "0.00010000",
            "nextFundingTime": call.now_ms - call.now_ms % 28_800_000 + 28_800_000, "time": call.now_ms,
        }

    def _depth(self, symbol: Symbol, call: Call) -> object:
        quote = self._prices.quote(symbol)
        levels = min(read.optional_integer(call.values, "limit") or 100, 20)
        answer: dict[str, Any] = {
            "lastUpdateId": call.now_ms,
            "bids": [[self._write(symbol, quote.bid - n * symbol.tick), "1000.00000000"] for n in range(levels)],
            "asks": [[self._write(symbol, quote.ask + n * symbol.tick), "1000.00000000"] for n in range(levels)],
        }
        return answer if symbol.market == "spot" else {**answer, "E": call.now_ms, "T": call.now_ms}

    def _no_trades(self, symbol: Symbol, call: Call) -> object:
        del symbol, call
        return []

    def get_spot_info(self, call: Call) -> object:
        """GET /api/v3/exchangeInfo."""
        wanted = self._wanted(call, SPOT)
        chosen = [wanted] if wanted is not None else list(SPOT.values())
        if call.values.get("symbols"):
            chosen = _several(call, SPOT)
        return {
            "timezone": "UTC", "serverTime": call.now_ms, "rateLimits": SPOT_LIMITS, "exchangeFilters": [],
            "symbols": [_spot_info(symbol) for symbol in chosen],
        }

    def get_futures_info(self, call: Call) -> object:
        """GET /fapi/v1/exchangeInfo."""
        return {
            "timezone": "UTC", "serverTime": call.now_ms, "futuresType": "U_MARGINED", "rateLimits": FUTURES_LIMITS,
            "exchangeFilters": [],
            "assets": [{"asset": "USDT", "marginAvailable": True, "autoAssetExchange": "-10000"}],
            "symbols": [_futures_info(symbol) for symbol in FUTURES.values()],
        }

    def get_coins(self, call: Call) -> object:
        """GET /sapi/v1/capital/config/getall."""
        return [
            {
                "coin": asset, "name": asset, "depositAllEnable": True, "withdrawAllEnable": False,
                "free": money(call.account.balance(asset).free), "locked": money(call.account.balance(asset).locked),
                "freeze": "0", "withdrawing": "0", "ipoing": "0", "ipoable": "0", "storage": "0",
                "isLegalMoney": False, "trading": True, "networkList": [],
            }
            for asset in _assets()
        ]

    def get_restrictions(self, call: Call) -> object:
        """GET /sapi/v1/account/apiRestrictions."""
        return {
            "ipRestrict": True, "createTime": call.now_ms, "enableReading": True, "enableWithdrawals": False,
            "enableInternalTransfer": False, "enableMargin": False, "enableFutures": True,
            "permitsUniversalTransfer": False, "enableVanillaOptions": False,
            "enableSpotAndMarginTrading": True, "enablePortfolioMarginTrading": False,
        }

    def get_trade_fees(self, call: Call) -> object:
        """GET /sapi/v1/asset/tradeFee."""
        wanted = self._wanted(call, SPOT)
        return [
            {"symbol": symbol.name, "makerCommission": "0", "takerCommission": "0"}
            for symbol in SPOT.values() if wanted in (None, symbol)
        ]


def _nothing(call: Call) -> object:
    del call
    return {}


def _none(call: Call) -> object:
    del call
    return []


def _normal(call: Call) -> object:
    del call
    return {"status": 0, "msg": "normal"}


def _several(call: Call, symbols: dict[str, Symbol]) -> list[Symbol]:
    names = read.json_list(call.values, "symbols")
    if not all(isinstance(name, str) and name in symbols for name in names):
        raise Rejection(-1121, "Invalid symbol.")
    return [symbols[name] for name in names]


def _assets() -> list[str]:
    return sorted({asset for symbol in SPOT.values() for asset in (symbol.base, symbol.quote)})


def _spot_info(symbol: Symbol) -> dict[str, Any]:
    up, down = plain(symbol.multiplier_up), plain(symbol.multiplier_down)
    return {
        "symbol": symbol.name, "status": "TRADING", "baseAsset": symbol.base, "baseAssetPrecision": 8,
        "quoteAsset": symbol.quote, "quotePrecision": 8, "quoteAssetPrecision": 8,
        "baseCommissionPrecision": 8, "quoteCommissionPrecision": 8,
        "orderTypes": ["LIMIT", "LIMIT_MAKER", "MARKET", "STOP_LOSS", "STOP_LOSS_LIMIT", "TAKE_PROFIT",
                       "TAKE_PROFIT_LIMIT"],
        "icebergAllowed": True, "ocoAllowed": True, "otoAllowed": True, "opoAllowed": True,
        "quoteOrderQtyMarketAllowed": True, "allowTrailingStop": True, "cancelReplaceAllowed": True,
        "amendAllowed": True, "pegInstructionsAllowed": False, "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": money(symbol.price_min), "maxPrice": money(symbol.price_max),
             "tickSize": money(symbol.tick)},
            {"filterType": "LOT_SIZE", "minQty": money(symbol.quantity_min), "maxQty": money(symbol.quantity_max),
             "stepSize": money(symbol.step)},
            {"filterType": "ICEBERG_PARTS", "limit": 100},
            {"filterType": "MARKET_LOT_SIZE", "minQty": money(ZERO), "maxQty": money(symbol.market_quantity_max),
             "stepSize": money(ZERO)},
            {"filterType": "TRAILING_DELTA", "minTrailingAboveDelta": 10, "maxTrailingAboveDelta": 2000,
             "minTrailingBelowDelta": 10, "maxTrailingBelowDelta": 2000},
            {"filterType": "PERCENT_PRICE_BY_SIDE", "bidMultiplierUp": up, "bidMultiplierDown": down,
             "askMultiplierUp": up, "askMultiplierDown": down, "avgPriceMins": 5},
            {"filterType": "NOTIONAL", "minNotional": money(symbol.notional_min), "applyMinToMarket": True,
             "maxNotional": money(symbol.notional_max), "applyMaxToMarket": False, "avgPriceMins": 5},
            {"filterType": "MAX_NUM_ORDERS", "maxNumOrders": 200},
            {"filterType": "MAX_NUM_ORDER_LISTS", "maxNumOrderLists": 20},
            {"filterType": "MAX_NUM_ALGO_ORDERS", "maxNumAlgoOrders": 5},
            {"filterType": "MAX_NUM_ORDER_AMENDS", "maxNumOrderAmends": 10},
        ],
        "permissions": [], "permissionSets": [["SPOT"]], "defaultSelfTradePreventionMode": "EXPIRE_MAKER",
        "allowedSelfTradePreventionModes": ["EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH", "DECREMENT"],
    }


def _futures_info(symbol: Symbol) -> dict[str, Any]:
    return {
        "symbol": symbol.name, "pair": symbol.name, "contractType": "PERPETUAL", "deliveryDate": 4133404800000,
        "onboardDate": 1569398400000, "status": "TRADING", "maintMarginPercent": "2.5000",
        "requiredMarginPercent": "5.0000", "baseAsset": symbol.base, "quoteAsset": symbol.quote,
        "marginAsset": symbol.quote, "pricePrecision": symbol.price_precision,
        "quantityPrecision": symbol.quantity_precision, "baseAssetPrecision": 8, "quotePrecision": 8,
        "underlyingType": "COIN", "underlyingSubType": ["PoW"], "triggerProtect": "0.0500",
        "liquidationFee": "0.012500", "marketTakeBound": "0.05", "maxMoveOrderLimit": 10000, "settlePlan": 0,
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": plain(symbol.price_min), "maxPrice": plain(symbol.price_max),
             "tickSize": f"{symbol.tick:f}"},
            {"filterType": "LOT_SIZE", "minQty": plain(symbol.quantity_min), "maxQty": plain(symbol.quantity_max),
             "stepSize": plain(symbol.step)},
            {"filterType": "MARKET_LOT_SIZE", "minQty": plain(symbol.quantity_min),
             "maxQty": plain(symbol.market_quantity_max), "stepSize": plain(symbol.step)},
            {"filterType": "MAX_NUM_ORDERS", "limit": 200},
            {"filterType": "MAX_NUM_ALGO_ORDERS", "limit": 10},
            {"filterType": "MIN_NOTIONAL", "notional": plain(symbol.notional_min)},
            {"filterType": "PERCENT_PRICE", "multiplierUp": f"{symbol.multiplier_up:.4f}",
             "multiplierDown": f"{symbol.multiplier_down:.4f}", "multiplierDecimal": "4"},
            {"filterType": "POSITION_RISK_CONTROL", "positionControlSide": "NONE"},
        ],
        "orderTypes": ["LIMIT", "MARKET", "STOP", "STOP_MARKET", "TAKE_PROFIT", "TAKE_PROFIT_MARKET",
                       "TRAILING_STOP_MARKET"],
        "timeInForce": ["GTC", "IOC", "FOK", "GTX", "GTD"], "permissionSets": ["GRID", "COPY"],
    }
