"""Binance's endpoints, by what they do.

The list is data, compared as exact raw bytes: a version, a case or a slash that is not here is
another endpoint. A mutating request that is not on it is refused, so that an endpoint added by
the venue tomorrow passes nothing unjudged. `GET` is not the same as reading, nor `POST` as
writing: the exceptions are listed. Paths that only old client libraries know (`POST
/api/v3/cancelReplace`, `/fapi/v1/batchOrder`) are left out on purpose.
"""

from __future__ import annotations

from typing import Final

from proxy.exchanges.base import Recognised, Verb

# The first segment of the path, and the host that serves it.
FAMILIES = ("/api", "/sapi", "/fapi", "/dapi", "/papi", "/eapi")

_LISTED: Final[dict[Verb, tuple[str, ...]]] = {
    Verb.PLACE: (
        "POST /api/v3/order",
        "POST /api/v3/order/cancelReplace",
        "POST /api/v3/order/oco",
        "POST /api/v3/orderList/oco",
        "POST /api/v3/orderList/opo",
        "POST /api/v3/orderList/opoco",
        "POST /api/v3/orderList/oto",
        "POST /api/v3/orderList/otoco",
        "POST /api/v3/sor/order",
        "POST /fapi/v1/algoOrder",
        "POST /fapi/v1/batchOrders",
        "POST /fapi/v1/order",
    ),
    Verb.TEST: (
        "POST /api/v3/order/test",
        "POST /api/v3/sor/order/test",
        "POST /fapi/v1/order/test",
    ),
    Verb.AMEND: (
        "PUT /api/v3/order/amend/keepPriority",
        "PUT /fapi/v1/batchOrders",
        "PUT /fapi/v1/order",
    ),
    Verb.MARGIN: (
        "POST /fapi/v1/leverage",
        "POST /fapi/v1/marginType",
        "POST /fapi/v1/multiAssetsMargin",
        "POST /fapi/v1/positionMargin",
        "POST /fapi/v1/positionSide/dual",
    ),
    Verb.CANCEL: (
        "DELETE /api/v3/openOrders",
        "DELETE /api/v3/order",
        "DELETE /api/v3/orderList",
        "DELETE /sapi/v1/margin/openOrders",
        "DELETE /sapi/v1/margin/order",
        "DELETE /sapi/v1/margin/orderList",
        "DELETE /fapi/v1/algoOpenOrders",
        "DELETE /fapi/v1/algoOrder",
        "DELETE /fapi/v1/allOpenOrders",
        "DELETE /fapi/v1/batchOrder",
        "DELETE /fapi/v1/batchOrders",
        "POST /fapi/v1/countdownCancelAll",
        "DELETE /fapi/v1/order",
        "DELETE /dapi/v1/algoOpenOrders",
        "DELETE /dapi/v1/algoOrder",
        "DELETE /dapi/v1/allOpenOrders",
        "DELETE /dapi/v1/batchOrders",
        "POST /dapi/v1/countdownCancelAll",
        "DELETE /dapi/v1/order",
        "DELETE /papi/v1/cm/allOpenOrders",
        "DELETE /papi/v1/cm/conditional/allOpenOrders",
        "DELETE /papi/v1/cm/conditional/order",
        "DELETE /papi/v1/cm/order",
        "DELETE /papi/v1/margin/allOpenOrders",
        "DELETE /papi/v1/margin/order",
        "DELETE /papi/v1/margin/orderList",
        "DELETE /papi/v1/um/algo/allOpenOrders",
        "DELETE /papi/v1/um/algo/order",
        "DELETE /papi/v1/um/allOpenOrders",
        "DELETE /papi/v1/um/conditional/allOpenOrders",
        "DELETE /papi/v1/um/conditional/order",
        "DELETE /papi/v1/um/order",
        "DELETE /eapi/v1/allOpenOrders",
        "DELETE /eapi/v1/allOpenOrdersByUnderlying",
        "DELETE /eapi/v1/batchOrders",
        "DELETE /eapi/v1/block/order/create",
        "POST /eapi/v1/countdownCancelAll",
        "POST /eapi/v1/countdownCancelAllHeartBeat",
        "DELETE /eapi/v1/order",
        "DELETE /sapi/v1/algo/futures/order",
        "DELETE /sapi/v1/algo/spot/order",
        "POST /sapi/v1/convert/limit/cancelOrder",
        "POST /sapi/v1/equity/order/cancel",
        "POST /sapi/v1/equity/order/cancel-all",
        "POST /sapi/v1/w3w/wallet/prediction/trade/batch-cancel",
    ),
    Verb.KEEP_ALIVE: (
        "DELETE /api/v3/userDataStream",
        "POST /api/v3/userDataStream",
        "PUT /api/v3/userDataStream",
        "DELETE /sapi/v1/margin/listen-key",
        "POST /sapi/v1/margin/listen-key",
        "PUT /sapi/v1/margin/listen-key",
        "DELETE /sapi/v1/userDataStream",
        "POST /sapi/v1/userDataStream",
        "PUT /sapi/v1/userDataStream",
        "DELETE /sapi/v1/userDataStream/isolated",
        "POST /sapi/v1/userDataStream/isolated",
        "PUT /sapi/v1/userDataStream/isolated",
        "POST /sapi/v1/userListenToken",
        "DELETE /fapi/v1/listenKey",
        "POST /fapi/v1/listenKey",
        "PUT /fapi/v1/listenKey",
        "DELETE /dapi/v1/listenKey",
        "POST /dapi/v1/listenKey",
        "PUT /dapi/v1/listenKey",
        "DELETE /papi/v1/listenKey",
        "POST /papi/v1/listenKey",
        "PUT /papi/v1/listenKey",
        "DELETE /eapi/v1/listenKey",
        "POST /eapi/v1/listenKey",
        "PUT /eapi/v1/listenKey",
    ),
    Verb.READ: (
        "POST /sapi/v3/asset/getUserAsset",
        "POST /sapi/v1/asset/get-funding-asset",
        "POST /sapi/v1/convert/getQuote",
    ),
    Verb.TRANSFER: (
        "POST /sapi/v1/margin/dust",
        "POST /sapi/v1/margin/isolated/transfer",
        "POST /sapi/v1/margin/loan-group/transfer-out",
        "POST /sapi/v1/margin/transfer",
        "POST /papi/v1/asset-collection",
        "POST /papi/v1/auto-collection",
        "POST /papi/v1/bnb-transfer",
        "POST /eapi/v1/transfer",
        "POST /sapi/v1/capital/withdraw/apply",
        "POST /sapi/v1/localentity/withdraw/apply",
        "POST /sapi/v1/asset/transfer",
        "POST /sapi/v1/asset/dust",
        "POST /sapi/v1/futures/transfer",
        "POST /sapi/v1/sub-account/universalTransfer",
        "POST /sapi/v1/sub-account/transfer/subToSub",
        "POST /sapi/v1/sub-account/transfer/subToMaster",
        "POST /sapi/v1/sub-account/futures/transfer",
        "POST /sapi/v1/sub-account/futures/internalTransfer",
        "POST /sapi/v1/sub-account/margin/transfer",
        "POST /sapi/v1/managed-subaccount/deposit",
        "POST /sapi/v1/managed-subaccount/withdraw",
    ),
    Verb.OTHER: (
        "DELETE /sapi/v1/margin/isolated/account",
        "DELETE /sapi/v1/margin/loan-group",
        "POST /sapi/v1/bnbBurn",
        "DELETE /sapi/v1/margin/apiKey",
        "POST /sapi/v1/margin/apiKey",
        "PUT /sapi/v1/margin/apiKey/ip",
        "POST /sapi/v1/margin/exit-special-key-mode",
        "POST /fapi/v1/apiReferral/customization",
        "POST /fapi/v1/apiReferral/userCustomization",
        "POST /fapi/v1/feeBurn",
        "POST /fapi/v1/stock/contract",
        "POST /dapi/v1/apiReferral/customization",
        "POST /papi/v1/um/feeBurn",
        "POST /papi/v1/um/stock/contract",
        "POST /eapi/v1/mmpReset",
        "POST /eapi/v1/mmpSet",
        "POST /eapi/v1/stock/contract",
        "GET /sapi/v1/soft-staking/set",
        "GET /sapi/v1/simple-earn/locked/setRedeemOption",
    ),
    Verb.UNSUPPORTED: (
        "POST /sapi/v1/margin/manual-liquidation",
        "POST /sapi/v1/margin/order",
        "POST /sapi/v1/margin/order/oco",
        "POST /sapi/v1/margin/order/oto",
        "POST /sapi/v1/margin/order/otoco",
        "POST /sapi/v1/margin/borrow-repay",
        "POST /sapi/v1/margin/exchange-small-liability",
        "POST /sapi/v1/margin/isolated/account",
        "POST /sapi/v1/margin/isolated/create",
        "POST /sapi/v1/margin/liquidation-loan/repay",
        "POST /sapi/v1/margin/loan",
        "POST /sapi/v1/margin/loan-group/borrow",
        "POST /sapi/v1/margin/loan-group/edit-member",
        "POST /sapi/v1/margin/loan-group/repay",
        "POST /sapi/v1/margin/max-leverage",
        "POST /sapi/v1/margin/repay",
        "POST /fapi/v1/convert/acceptQuote",
        "POST /dapi/v1/algoOrder",
        "POST /dapi/v1/batchOrders",
        "POST /dapi/v1/order",
        "PUT /dapi/v1/batchOrders",
        "PUT /dapi/v1/order",
        "POST /dapi/v1/leverage",
        "POST /dapi/v1/marginType",
        "POST /dapi/v1/positionMargin",
        "POST /dapi/v1/positionSide/dual",
        "POST /papi/v1/cm/conditional/order",
        "POST /papi/v1/cm/order",
        "POST /papi/v1/margin/order",
        "POST /papi/v1/margin/order/oco",
        "POST /papi/v1/um/algo/order",
        "POST /papi/v1/um/conditional/order",
        "POST /papi/v1/um/order",
        "PUT /papi/v1/cm/order",
        "PUT /papi/v1/um/order",
        "POST /papi/v1/cm/leverage",
        "POST /papi/v1/cm/positionSide/dual",
        "POST /papi/v1/margin/repay-debt",
        "POST /papi/v1/marginLoan",
        "POST /papi/v1/repay-futures-negative-balance",
        "POST /papi/v1/repay-futures-switch",
        "POST /papi/v1/repayLoan",
        "POST /papi/v1/um/leverage",
        "POST /papi/v1/um/positionSide/dual",
        "POST /eapi/v1/batchOrders",
        "POST /eapi/v1/block/order/create",
        "POST /eapi/v1/block/order/execute",
        "POST /eapi/v1/order",
        "PUT /eapi/v1/block/order/create",
        "POST /sapi/v1/algo/futures/newOrderTwap",
        "POST /sapi/v1/algo/futures/newOrderVp",
        "POST /sapi/v1/algo/spot/newOrderTwap",
        "POST /sapi/v1/convert/acceptQuote",
        "POST /sapi/v1/convert/limit/placeOrder",
        "POST /sapi/v1/equity/order/place",
        "POST /sapi/v1/equity/tokenized/mint",
        "POST /sapi/v1/equity/tokenized/redeem",
        "POST /sapi/v1/w3w/wallet/prediction/trade/place-order-bundle",
        "POST /sapi/v1/otc/blocktrade/create",
        "POST /sapi/v1/otc/blocktrade/fulfil",
        "POST /sapi/v1/sub-account/futures/move-position",
        "POST /sapi/v1/dci/product/subscribe",
        "POST /sapi/v1/accumulator/product/subscribe",
        "POST /sapi/v1/lending/auto-invest/one-off",
        "POST /sapi/v1/lending/auto-invest/plan/add",
        "POST /sapi/v1/asset/dust-convert/convert",
        "POST /sapi/v1/otc/orders",
        "POST /sapi/v1/custodian/order",
        "POST /sapi/v1/custodian/ocoOrder",
    ),
}


def _security(verb: Verb) -> str:
    """Listen keys need the key only; everything else that is listed is signed."""
    return "key" if verb is Verb.KEEP_ALIVE else "signed"


def _table() -> dict[tuple[str, bytes], Recognised]:
    table: dict[tuple[str, bytes], Recognised] = {}
    for verb, endpoints in _LISTED.items():
        for endpoint in endpoints:
            method, _, path = endpoint.partition(" ")
            family = "/" + path.split("/")[1]
            recognised = Recognised(
                family=family, verb=verb, endpoint=endpoint, security=_security(verb)
            )
            if table.setdefault((method, path.encode("ascii")), recognised) is not recognised:
                raise ValueError(f"{endpoint} is listed twice")
    return table


ENDPOINTS: Final = _table()


def family_of(path: bytes) -> str | None:
    """The family a path belongs to, or None. `/futures/data` is public data of the USDⓈ-M host."""
    if path.startswith(b"/futures/data/"):
        return "/fapi"
    first = path[: path.find(b"/", 1)] if path.find(b"/", 1) > 0 else b""
    return _FAMILY_BYTES.get(first)


_FAMILY_BYTES: Final = {family.encode("ascii"): family for family in FAMILIES}
