"""What to put into a client so that every one of its orders goes through the proxy.

A client keeps one URL per API family. One that is left out still points at the exchange, and
orders sent there are seen by nobody; so a snippet names every key an order can leave by, and
the market data ones beside them.

ccxt turns Binance's error codes into its exceptions by the URL's host: it knows
`https://fapi.<hostname>/` and its sisters only, where a port is part of the hostname. Behind
a plain `http://127.0.0.1:8080` the codes of the futures tables become a bare ExchangeError.
With a domain of one's own, a certificate for it, and ccxt's `hostname` set to it, the mapping
is complete again. Both ways are printed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from proxy.cli.checking import find_config, read_sections
from proxy.cli.output import CommandFailed, Exit
from proxy.config import FAMILIES, Settings, read_document

_REFERENCE = re.compile(r"\$\{(file|env):([^{}]+)\}")

# ccxt's names for Binance's URLs: name -> (first part of the host name, path under the origin). Binance serves
# /sapi from its api host, and ccxt looks /sapi's error codes up by that name.
CCXT_URLS: dict[str, tuple[str, str]] = {
    "public": ("api", "/api/v3"),
    "private": ("api", "/api/v3"),
    "v1": ("api", "/api/v1"),
    "sapi": ("api", "/sapi/v1"),
    "sapiV2": ("api", "/sapi/v2"),
    "sapiV3": ("api", "/sapi/v3"),
    "sapiV4": ("api", "/sapi/v4"),
    "fapiPublic": ("fapi", "/fapi/v1"),
    "fapiPublicV2": ("fapi", "/fapi/v2"),
    "fapiPublicV3": ("fapi", "/fapi/v3"),
    "fapiPrivate": ("fapi", "/fapi/v1"),
    "fapiPrivateV2": ("fapi", "/fapi/v2"),
    "fapiPrivateV3": ("fapi", "/fapi/v3"),
    "dapiPublic": ("dapi", "/dapi/v1"),
    "dapiPrivate": ("dapi", "/dapi/v1"),
    "dapiPrivateV2": ("dapi", "/dapi/v2"),
    "eapiPublic": ("eapi", "/eapi/v1"),
    "eapiPrivate": ("eapi", "/eapi/v1"),
    "papi": ("papi", "/papi/v1"),
    "papiV2": ("papi", "/papi/v2"),
}

# python-binance's attributes: name -> (family, path under the origin).
PYTHON_BINANCE_URLS: dict[str, tuple[str, str]] = {
    "API_URL": ("api", "/api"),
    "MARGIN_API_URL": ("sapi", "/sapi"),
    "FUTURES_URL": ("fapi", "/fapi"),
    "FUTURES_COIN_URL": ("dapi", "/dapi"),
    "OPTIONS_URL": ("eapi", "/eapi"),
    "PAPI_URL": ("papi", "/papi"),
}

SOCKETS = (
    "Orders over a WebSocket API or FIX never pass an HTTP proxy: do not switch them on, and let the key's "
    "permissions or your firewall forbid them."
)


@dataclass(frozen=True, slots=True)
class Way:
    """How a client reaches the proxy: one origin for all families, or a host name for each."""

    plain: str  # http://127.0.0.1:8080
    domain: str  # the own domain, or an example of one
    port: int
    key: str
    secret: str

    @property
    def hostname(self) -> str:
        """What ccxt compares URLs with: the own domain, and the port where it is not the usual one."""
        return self.domain if self.port == 443 else f"{self.domain}:{self.port}"

    def own(self, family: str) -> str:
        """The origin of a family under the own domain; as at Binance, /sapi shares the host of /api."""
        return f"https://{'api' if family == 'sapi' else family}.{self.hostname}"


def way_of(settings: Settings, bot: str) -> Way:
    """How to reach the proxy of these settings, with the names (never the values) of a bot's key."""
    bind = settings.listen.bind
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(bind.host)  # noqa: S104 - compared, not bound
    address = f"{host}:{bind.port}" if host else str(bind)
    scheme = "https" if settings.listen.tls else "http"
    domains = {name.partition(".")[2] for name in settings.listen.host_families}
    bots = [f"{account}/{name}" for account, one in settings.accounts.items() for name in one.bots]
    if bot and bot not in bots:
        raise CommandFailed(f"found --bot {bot}; expected one of: {', '.join(bots) or '(no bots yet)'}", Exit.USAGE)
    chosen = bot or (bots[0] if bots else "ACCOUNT/BOT")
    return Way(
        plain=f"{scheme}://{address}",
        domain=min(domains) if domains else "gate.example",
        port=bind.port,
        key=f"KEY_OF_{chosen}",
        secret=f"SECRET_OF_{chosen}",
    )


def ccxt_urls(way: Way, *, own_domain: bool) -> dict[str, str]:
    """Every URL ccxt's binance class has for REST."""
    return {
        name: (way.own(host) if own_domain else way.plain) + path for name, (host, path) in CCXT_URLS.items()
    }


def _block(value: object) -> str:
    return json.dumps(value, indent=4)


def ccxt(way: Way) -> str:
    """ccxt, sync and async."""
    plain = {"apiKey": way.key, "secret": way.secret, "urls": {"api": ccxt_urls(way, own_domain=False)}}
    own = {
        "apiKey": way.key,
        "secret": way.secret,
        "hostname": way.hostname,
        "urls": {"api": ccxt_urls(way, own_domain=True)},
    }
    return (
        "# ccxt (ccxt.binance, ccxt.binanceusdm, ccxt.async_support.*): every key is needed; one that is missing\n"
        "# keeps pointing at the exchange, past the gate. Do not use proxyUrl, httpProxy or httpsProxy for this.\n"
        "\n# 1. Plain http. A block is ccxt.InvalidOrder. The exchange's own futures codes (-2019, -4164, ...)\n"
        "#    arrive as plain ExchangeError, because ccxt looks them up by host.\n"
        f"exchange = ccxt.binance({_block(plain)})\n"
        "\n# 2. A domain of your own with TLS: every code keeps its exception. Needs listen.tls with a certificate\n"
        "#    for these names, listen.host_families, and names that resolve to the proxy:\n"
        f"{_host_lines(way)}"
        "#    With a private authority also \"requests_trust_env\": True and REQUESTS_CA_BUNDLE=ca.pem in the\n"
        "#    environment (sync), or \"cafile\": \"ca.pem\" (async). The port, if there is one, is part of hostname.\n"
        f"exchange = ccxt.binance({_block(own)})\n"
        "\n# fapiData and dapiData stay: public statistics, asked without a key; no order leaves by them.\n"
        f"# {SOCKETS}"
    )


def _host_lines(way: Way) -> str:
    return "".join(f"#      {family}.{way.domain}: /{family}\n" for family in FAMILIES if family != "sapi")


def freqtrade(way: Way) -> str:
    """freqtrade: its exchange section, as JSON."""
    plain = {"urls": {"api": ccxt_urls(way, own_domain=False)}}
    own = {"hostname": way.hostname, "urls": {"api": ccxt_urls(way, own_domain=True)}}
    exchange = {"name": "binance", "key": way.key, "secret": way.secret}
    return (
        "// freqtrade, config.json. ccxt_config reaches its sync and its async client alike.\n"
        "// A refused stop-loss makes freqtrade leave at market; riskgate never refuses a proven reduction\n"
        "// but under HALT or CRITICAL. A refused leverage change is tried five times by freqtrade itself.\n"
        "\n// 1. plain http\n"
        f"{_block({'exchange': {**exchange, 'ccxt_config': plain, 'ccxt_async_config': plain}})}\n"
        "\n// 2. a domain of your own with TLS (see `riskgate snippet ccxt`): every error keeps its class\n"
        f"{_block({'exchange': {**exchange, 'ccxt_config': own, 'ccxt_async_config': own}})}\n"
        f"\n// {SOCKETS}"
    )


def python_binance(way: Way) -> str:
    """python-binance: attributes, set before the first request."""
    lines = [f'client.{name} = "{way.plain}{path}"' for name, (_, path) in PYTHON_BINANCE_URLS.items()]
    return "\n".join(
        [
            "# python-binance: ping=False, because the constructor would ask the exchange before the URLs are set.",
            "# AsyncClient has no ping argument: construct it directly, without ping and not with create(), which\n"
            "# asks the exchange; then set the same attributes.",
            "from binance.client import Client",
            "",
            f'client = Client("{way.key}", "{way.secret}", ping=False)',
            *lines,
            "",
            f"# {SOCKETS}",
        ]
    )


def binance_connector(way: Way) -> str:
    """binance-connector: spot."""
    return (
        "# binance-connector (spot and /sapi)\n"
        "from binance.spot import Spot\n\n"
        f'client = Spot("{way.key}", "{way.secret}", base_url="{way.plain}")\n\n# {SOCKETS}'
    )


def binance_futures_connector(way: Way) -> str:
    """binance-futures-connector: USD-M and COIN-M."""
    return (
        "# binance-futures-connector\n"
        "from binance.um_futures import UMFutures\n"
        "from binance.cm_futures import CMFutures\n\n"
        f'um = UMFutures("{way.key}", "{way.secret}", base_url="{way.plain}")\n'
        f'cm = CMFutures("{way.key}", "{way.secret}", base_url="{way.plain}")\n\n# {SOCKETS}'
    )


def binance_sdk(way: Way) -> str:
    """The modular binance-sdk packages: one base_path each."""
    return (
        "# binance-sdk-spot, -derivatives-trading-usds-futures, -coin-futures, -portfolio-margin, -margin-trading,\n"
        "# -algo: each client has its own configuration; give every one of them the base_path.\n"
        "# The default timeout is 1000 ms, and GET and DELETE are retried; a placed order is not.\n"
        "from binance_common.configuration import ConfigurationRestAPI\n"
        "from binance_sdk_derivatives_trading_usds_futures.derivatives_trading_usds_futures import (\n"
        "    DerivativesTradingUsdsFutures,\n)\n\n"
        "configuration = ConfigurationRestAPI(\n"
        f'    api_key="{way.key}", api_secret="{way.secret}", base_path="{way.plain}", timeout=10000\n)\n'
        "client = DerivativesTradingUsdsFutures(config_rest_api=configuration)\n\n"
        f"# {SOCKETS} Leave ConfigurationWebSocketAPI unset."
    )


def hummingbot(way: Way) -> str:
    """hummingbot: it has no setting, so this is a patch and says so."""
    return (
        "# hummingbot has no setting for the exchange's URL: `domain` only fills in the top-level domain. This is a\n"
        "# patch of its constants, to run before a connector is made (for instance at the top of a script). The other\n"
        "# way is DNS and a certificate of your own for the exchange's host names, on a machine of its own.\n"
        "from hummingbot.connector.derivative.binance_perpetual import binance_perpetual_constants\n"
        "from hummingbot.connector.exchange.binance import binance_constants\n\n"
        f'binance_constants.REST_URL = "{way.plain}/api/"\n'
        f'binance_perpetual_constants.PERPETUAL_BASE_URL = "{way.plain}/fapi/"\n\n'
        f"# key {way.key}, secret {way.secret}\n# {SOCKETS}"
    )


SNIPPETS: dict[str, Callable[[Way], str]] = {
    "ccxt": ccxt,
    "freqtrade": freqtrade,
    "python-binance": python_binance,
    "binance-connector": binance_connector,
    "binance-futures-connector": binance_futures_connector,
    "binance-sdk": binance_sdk,
    "hummingbot": hummingbot,
}


def snippet(client: str, config: Path | None, bot: str) -> str:
    """The text for one client, or the names of all."""
    if client == "list":
        return "\n".join(SNIPPETS)
    # binance-sdk-spot and its sisters are configured alike.
    name = "binance-sdk" if client.startswith("binance-sdk-") else client
    if name not in SNIPPETS:
        raise CommandFailed(f"found the client {client!r}; expected one of: {', '.join(SNIPPETS)}", Exit.USAGE)
    way = way_of(read_sections(config, "listen", "accounts"), bot)
    comment = "//" if name == "freqtrade" else "#"
    places = [f"{comment} {line}\n" for line in places_of(find_config(config), way.key.removeprefix("KEY_OF_"))]
    return "".join(places) + SNIPPETS[name](way)


def places_of(file: Path, chosen: str) -> Iterator[str]:
    """Where the key and secret of ACCOUNT/BOT are, as the settings refer to them; never the values."""
    account, _, bot = chosen.partition("/")
    here: object = read_document(file)
    for step in ("accounts", account, "bots", bot):
        here = here.get(step) if isinstance(here, dict) else None
    for name in ("key", "secret"):
        written = here.get(name) if isinstance(here, dict) else None
        found = _REFERENCE.fullmatch(written) if isinstance(written, str) else None
        if found is not None:
            where = file.absolute().parent / found[2] if found[1] == "file" else found[2]
            kind = "the content of" if found[1] == "file" else "the environment variable"
            yield f"{name.upper()}_OF_{chosen} is {kind} {where}"
