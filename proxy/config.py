"""What people set: one file, the environment, and flags, read strictly.

Precedence is flag, then `RISKGATE_SECTION__KEY`, then the file, then the default. Nothing is
ignored silently: an unknown key at any depth, a key written twice, an unset reference or a
secret that others can read stops the start. Every scalar of a YAML file is read as text, so
that `NO` stays a symbol and an amount keeps all its digits; the models turn text into values.

A problem says where (file and key), what was found and what was expected. Values that came
from a reference, keys and secrets are never repeated in it.
"""

from __future__ import annotations

import ipaddress
import os
import re
import stat
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin
from urllib.parse import urlsplit

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PrivateAttr,
    SecretStr,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import ErrorDetails

from proxy.errors import ConfigError

ENVIRONMENT_PREFIX = "RISKGATE_"
CONFIG_VARIABLE = "RISKGATE_CONFIG"  # names the file itself; not a setting
EXCHANGES_KNOWN = ("binance",)
FAMILIES = ("api", "sapi", "fapi", "dapi", "papi", "eapi")
FILE_BYTES_MAX = 1024 * 1024
SECRET_FILE_BYTES_MAX = 64 * 1024
KEEP_MIN_S = 30 * 86400

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_REFERENCE = re.compile(r"\$\{([^{}]*)\}")
_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(ms|s|m|h|d)")
_SECONDS = {
    "ms": Decimal("0.001"),
    "s": Decimal(1),
    "m": Decimal(60),
    "h": Decimal(3600),
    "d": Decimal(86400),
}
_HIDDEN = "(a value that is not shown)"
STORE_SCHEMES = ("memory", "sqlite", "postgresql", "postgres", "redis", "rediss", "valkey", "valkeys")


class Problem(NamedTuple):
    """One thing wrong with the settings."""

    source: str  # file, environment variable or flag
    key: str  # dotted path
    found: str
    expected: str

    def __str__(self) -> str:
        return f"{self.source}: {self.key or '(top level)'}: found {self.found}; expected {self.expected}"


class SettingsInvalid(ConfigError):
    """The settings cannot be used; `problems` lists everything that was found in one reading."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


# --- values ---------------------------------------------------------------------------------------


class Bind(NamedTuple):
    """An address to listen on."""

    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return _is_loopback(self.host)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def parse_bind(value: object) -> Bind:
    """Read `host:port`, `[v6]:port`; the host is an IP address or `localhost`."""
    if isinstance(value, Bind):
        return value
    found = re.fullmatch(r"(?:\[([0-9a-fA-F:.]+)\]|([^\[\]:/\s]+)):([0-9]{1,5})", str(value))
    if found is None or int(found[3]) > 65535:
        raise ValueError("an address and port such as 127.0.0.1:8080 or [::1]:8080")
    host = found[1] or found[2]
    if host != "localhost":
        try:
            ipaddress.ip_address(host)
        except ValueError:
            raise ValueError("an IP address (or localhost) and a port, such as 127.0.0.1:8080") from None
    return Bind(host, int(found[3]))


def parse_duration(value: object) -> float:
    """Read `250ms`, `5s`, `2m`, `1h`, `400d` as seconds; a bare number has no unit and is refused."""
    found = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError("a duration with its unit, such as 250ms, 5s, 2m or 1h")
    return float(Decimal(found[1]) * _SECONDS[found[2]])


def parse_origin(value: object) -> str:
    """Read `scheme://host[:port]`: an origin without path, query or user."""
    problem = ValueError("an origin such as https://api.binance.com, without path or user")
    text = str(value).rstrip("/")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise problem from None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        raise problem
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    if text.lower() != f"{parts.scheme}://{host}" + (f":{port}" if port is not None else ""):
        raise problem
    return text.lower()


def parse_stream_origin(value: object) -> str:
    """Read `wss://host[:port]`: where a venue pushes."""
    text = str(value)
    scheme, separator, rest = text.partition("://")
    try:
        origin = parse_origin({"ws": "http", "wss": "https"}[scheme.lower()] + separator + rest)
    except (KeyError, ValueError):
        raise ValueError("an origin such as wss://fstream.binance.com, without path or user") from None
    return origin.replace("http", "ws", 1)


def _parse_url(value: object) -> str:
    parts = urlsplit(str(value))
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        raise ValueError("a URL such as https://risk.example:8443")
    return str(value).rstrip("/")


def _parse_store_url(value: object) -> str:
    scheme = str(value).partition(":")[0]
    if scheme not in STORE_SCHEMES or (scheme not in ("sqlite", "memory") and "://" not in str(value)):
        raise ValueError("sqlite, sqlite:FILE, memory, or a URL such as postgresql://USER@HOST/DATABASE, redis://HOST")
    return str(value)


def _shown_hook(url: str) -> str:
    parts = urlsplit(url)  # who knows the path of a hook may post to it
    return f"{parts.scheme}://{parts.netloc}" + ("/..." if parts.path.strip("/") or parts.query else "")


def _shown_store_url(url: str) -> str:
    from proxy.stores.places import shown  # a password in the URL is for nobody's eyes

    return shown(url)


def _parse_amount(value: object) -> Decimal:
    if isinstance(value, Decimal | int) and not isinstance(value, bool):
        value = format(Decimal(value), "f")
    if not isinstance(value, str) or re.fullmatch(r"[0-9]{1,20}(\.[0-9]{1,20})?", value) is None:
        raise ValueError('a plain positive decimal in quotes, such as "10000" or "0.5"')
    return Decimal(value)


def _parse_family(value: object) -> str:
    family = str(value)
    if family.removeprefix("/") not in FAMILIES or not family.startswith("/"):
        raise ValueError("one of " + ", ".join(f"/{name}" for name in FAMILIES))
    return family


def _parse_host(value: object) -> str:
    text = str(value).lower()
    if re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)*", text) is None:
        raise ValueError("a host name without port, such as fapi.gate.example")
    return text


def _parse_name(value: object) -> str:
    if _NAME.fullmatch(str(value)) is None:
        raise ValueError("a name of letters, digits, - and _, beginning with a letter or digit, at most 64 long")
    return str(value)


def _parse_secret(value: object) -> object:
    text = value.get_secret_value() if isinstance(value, SecretStr) else value
    if not isinstance(text, str) or not text.strip():
        raise ValueError("a text that is not empty")
    return value


_TEXT = {"type": "string"}
Address = Annotated[
    Bind,
    BeforeValidator(parse_bind),
    PlainSerializer(str, when_used="json"),
    WithJsonSchema({**_TEXT, "examples": ["127.0.0.1:8080"]}),
]
Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    PlainSerializer(lambda seconds: f"{seconds:g}s", when_used="json"),
    WithJsonSchema({**_TEXT, "pattern": "^[0-9.]+(ms|s|m|h|d)$"}),
]
Origin = Annotated[str, BeforeValidator(parse_origin), WithJsonSchema({**_TEXT, "format": "uri"})]
StreamOrigin = Annotated[str, BeforeValidator(parse_stream_origin), WithJsonSchema({**_TEXT, "format": "uri"})]
Url = Annotated[str, BeforeValidator(_parse_url), WithJsonSchema({**_TEXT, "format": "uri"})]
HookUrl = Annotated[Url, PlainSerializer(_shown_hook, when_used="json")]
StoreUrl = Annotated[
    str,
    BeforeValidator(_parse_store_url),
    PlainSerializer(_shown_store_url, when_used="json"),
    WithJsonSchema({**_TEXT, "examples": ["sqlite", "postgresql://riskgate@db.internal/policies"]}),
]
Amount = Annotated[Decimal, BeforeValidator(_parse_amount), WithJsonSchema({**_TEXT, "examples": ["10000"]})]
Family = Annotated[str, BeforeValidator(_parse_family)]
HostName = Annotated[str, BeforeValidator(_parse_host)]
Name = Annotated[str, BeforeValidator(_parse_name)]
Secret = Annotated[SecretStr, BeforeValidator(_parse_secret)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]


# --- sections -------------------------------------------------------------------------------------


class Strict(BaseModel):
    """The base of every section: frozen, and an unknown key is an error at every depth."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Tls(Strict):
    """A certificate chain and its private key, both PEM files."""

    cert: Path
    key: Path


class AdminTls(Tls):
    """The same, and whose certificates are asked for; a token is needed all the same."""

    client_ca: Path | None = None
    client_cert: Path | None = None


class Listen(Strict):
    """Where bots connect."""

    bind: Address = Bind("127.0.0.1", 8080)
    tls: Tls | None = None
    host_families: dict[HostName, Family] = {}
    connections_max: Count = 2000
    drain_delay: Duration = 0.0
    drain_timeout: Duration = 25.0


class Admin(Strict):
    """Where people and monitoring connect."""

    bind: Address = Bind("127.0.0.1", 8099)
    token_file: Path = Path("admin_token")
    tls: AdminTls | None = None
    allow_public: bool = False
    release_by: Literal["two", "one"] = "two"


# Where Binance pushes for each of its own hosts; a host that is not here pushes nowhere unless it is said where.
_SPOT_STREAMS = ("wss://stream.binance.com", "wss://ws-api.binance.com")
_SPOT_PUSHES = {
    **{f"https://{host}.binance.com": _SPOT_STREAMS for host in ("api", "api-gcp", "api1", "api2", "api3", "api4")},
    "https://demo-api.binance.com": ("wss://demo-stream.binance.com", "wss://demo-ws-api.binance.com"),
    "https://testnet.binance.vision": ("wss://stream.testnet.binance.vision", "wss://ws-api.testnet.binance.vision"),
}
_FUTURES_PUSHES = {
    "https://fapi.binance.com": "wss://fstream.binance.com",
    "https://demo-fapi.binance.com": "wss://fstream.binancefuture.com",
    "https://testnet.binancefuture.com": "wss://fstream.binancefuture.com",
}


class UpstreamStreams(Strict):
    """Where the exchange pushes: futures events and prices, spot prices, and spot events (its WebSocket API)."""

    fapi: StreamOrigin | None = None
    api: StreamOrigin | None = None
    ws_api: StreamOrigin | None = None


class Upstream(Strict):
    """The exchange's own hosts, one per API family, and how long to wait for them."""

    api: Origin = "https://api.binance.com"
    sapi: Origin = "https://api.binance.com"
    fapi: Origin = "https://fapi.binance.com"
    dapi: Origin = "https://dapi.binance.com"
    papi: Origin = "https://papi.binance.com"
    eapi: Origin = "https://eapi.binance.com"
    streams: UpstreamStreams = UpstreamStreams()
    ca_file: Path | None = None
    allow_plain_http: bool = False
    allow_private: bool = False
    connect_timeout: Duration = 3.0
    total_timeout: Duration = 12.0
    connections_max: Count = 64
    connections_warm: Annotated[int, Field(ge=0, le=1000)] = 2

    @property
    def hosts(self) -> dict[str, str]:
        """Family prefix (`/fapi`) to upstream origin."""
        return {f"/{family}": str(getattr(self, family)) for family in FAMILIES}

    @property
    def pushes(self) -> UpstreamStreams:
        """Where each API pushes: as set, else as known of its host; None where neither says."""
        set_to = self.streams
        prices, events = _SPOT_PUSHES.get(self.api, (None, None))
        return UpstreamStreams(
            fapi=set_to.fapi or _FUTURES_PUSHES.get(self.fapi), api=set_to.api or prices, ws_api=set_to.ws_api or events
        )


class WebhookTarget(Strict):
    """Where something is posted as JSON."""

    url: HookUrl = Field(repr=False)
    secret: Secret | None = None


class AnchorPlaces(Strict):
    """Where the head of the record is left beside the log, so that a record that was rebuilt shows."""

    interval: Duration = 60.0
    dir: Path | None = None
    secret: Secret | None = None
    webhook: WebhookTarget | None = None


class Audit(Strict):
    """How durable a decision is before its order leaves, where it stands a second time, and how long it is kept."""

    sync: Literal["power", "process"] = "power"
    second_dir: Path | None = None
    keep: Duration | None = None
    anchor: AnchorPlaces = AnchorPlaces()


class Store(Strict):
    """Where policies live."""

    url: StoreUrl = Field(default="sqlite", repr=False)
    password: Secret | None = None
    allow_memory: bool = False
    poll_interval: Duration = 1.0
    timeout: Duration = 2.0
    age_max: Duration = 60.0


class GlobalRiskSource(Strict):
    """The global risk signal: measured here, read from another service, or not there."""

    source: Literal["embedded", "remote", "none"] = "embedded"
    url: Url | None = None
    token: Secret | None = None
    interval: Duration = 1.0
    trip: Literal["none", "by_tier"] = "none"
    lookback_days: Annotated[int, Field(ge=30, le=900)] = 180
    history_min_days: Annotated[int, Field(ge=20, le=900)] = 30
    horizon_hours: Annotated[int, Field(ge=1, le=720)] = 24
    benchmark: Annotated[str, Field(pattern=r"^[A-Z0-9]{2,30}$")] = "BTCUSDT"


class VenueCredentials(Strict):
    """The key the exchange issued; it stays in the proxy."""

    api_key: Secret
    secret: Secret
    kind: Literal["hmac", "ed25519", "rsa"] = "hmac"


class StrategyOfBot(Strict):
    """A further strategy that a bot trades for, and how its client order ids begin."""

    prefix: Annotated[str, Field(pattern=r"^[.A-Z:/a-z0-9_-]{1,32}$")] | None = None


class Bot(Strict):
    """One program that sends orders, known by the key it sends."""

    key: Secret
    secret: Secret | None = None
    strategy: Name | None = None
    strategies: dict[Name, StrategyOfBot] = {}

    @model_validator(mode="after")
    def _told_apart(self) -> Bot:
        known = sorted((one.prefix, name) for name, one in self.strategies.items() if one.prefix is not None)
        for (prefix, name), (longer, other) in pairwise(known):
            if longer.startswith(prefix):
                raise ValueError(
                    f"the prefix {longer!r} of strategy {other} begins with {prefix!r}, which is that of {name}: "
                    "expected prefixes of which none begins another"
                )
        return self


class DeadMan(Strict):
    """What happens to an account whose bots fall silent; off unless a lease is stated."""

    lease: Duration | None = None
    countdown: Duration | None = None

    @model_validator(mode="after")
    def _sensible(self) -> DeadMan:
        if self.countdown is not None and self.lease is None:
            raise ValueError("countdown needs a lease: without one nobody knows whether bots are alive")
        if self.lease is not None and self.lease < 1:
            raise ValueError(f"lease is {self.lease:g}s, expected at least 1s")
        if self.countdown is not None and not 5 <= self.countdown <= 600:
            raise ValueError(f"countdown is {self.countdown:g}s, expected 5s to 600s")
        return self


class Account(Strict):
    """One account at an exchange and the bots that trade it."""

    exchange: Literal["binance"] = "binance"
    mode: Literal["custody", "passthrough"]
    credentials: VenueCredentials | None = None
    markets: tuple[Literal["spot", "futures"], ...] = ("spot", "futures")
    static_equity: Amount | None = None
    override_notional_max: Amount | None = None
    stream: Literal["on", "off"] = "on"
    bypass: Literal["alert", "reduce_only"] = "alert"
    transfers_allowed: bool = False
    wallet_history: bool = True
    dead_man: DeadMan = DeadMan()
    bots: dict[Name, Bot] = {}


class FeedTimes(Strict):
    """How often accounts and markets are read."""

    account_interval: Duration = 2.0
    snapshot_interval: Duration = 5.0
    reconcile_interval: Duration = 30.0
    market_interval: Duration = 2.0


class Log(Strict):
    """How the program tells what it does."""

    format: Literal["auto", "json", "console"] = "auto"
    level: Literal["debug", "info", "warning", "error"] = "info"
    risk_guard_events: bool = True  # each order once more under the event name that RiskGuard gave it


Told = Literal["on", "digest", "off"]


class NotifyEvents(Strict):
    """How each class of events is told: at once, gathered, or not."""

    ess: Told = "on"
    loss: Told = "on"
    bypass: Told = "on"
    feed: Told = "on"
    store: Told = "on"
    audit: Told = "on"
    block_rate: Told = "on"
    permit: Told = "on"
    policy: Told = "on"
    lifecycle: Told = "on"


class TelegramUser(Strict):
    """A person who is told, and may command by role."""

    name: Name
    role: Literal["viewer", "operator", "admin"] = "viewer"


class TelegramBot(Strict):
    """A Telegram bot of the proxy's own, and the users it listens to, by their numeric ids."""

    token: Secret
    users: dict[Name, TelegramUser]
    commands: bool = True
    api: Origin = "https://api.telegram.org"


class Notify(Strict):
    """Who is told what happens, and how."""

    events: NotifyEvents = NotifyEvents()
    instance: Name = "riskgate"
    per_minute: Annotated[int, Field(ge=1, le=60)] = 6
    digest_interval: Duration = 900.0
    webhook: WebhookTarget | None = None
    apprise: tuple[Secret, ...] = ()
    telegram: TelegramBot | None = None


class Permits(Strict):
    """What people may let through: large orders that wait for them, and orders above limits of size."""

    approval_by: Literal["one", "two"] = "one"
    approval_wait: Duration = 900.0
    approval_valid: Duration = 300.0
    override_valid: Duration = 300.0
    override_daily_max: Count = 5
    price_tolerance: Amount = Decimal("0.01")


class Telemetry(Strict):
    """Where spans of orders are sent; nothing is loaded and nothing sent unless that is stated."""

    endpoint: Url | None = None
    headers: dict[Name, Secret] = {}
    service: Name = "riskgate"
    sample: Amount = Decimal(1)


class Settings(Strict):
    """Everything that can be set. Durations are seconds, paths absolute, addresses (host, port)."""

    listen: Listen = Listen()
    admin: Admin = Admin()
    data_dir: Path = Path("data")
    upstream: Upstream = Upstream()
    audit: Audit = Audit()
    store: Store = Store()
    policy_file: Path | None = None
    global_risk: GlobalRiskSource = GlobalRiskSource()
    accounts: dict[Name, Account] = {}
    feeds: FeedTimes = FeedTimes()
    log: Log = Log()
    notify: Notify = Notify()
    telemetry: Telemetry = Telemetry()
    permits: Permits = Permits()
    event_loop: Literal["auto", "asyncio", "uvloop"] = "auto"

    _source: str = PrivateAttr(default="(defaults)")
    _environment_names: tuple[str, ...] = PrivateAttr(default=())

    @property
    def source(self) -> str:
        """The file these settings came from."""
        return self._source

    @property
    def environment_names(self) -> tuple[str, ...]:
        """The environment variables that changed a setting; names only, for the log."""
        return self._environment_names

    @property
    def admin_token_path(self) -> Path:
        """Where the admin token is kept."""
        return self.data_dir / self.admin.token_file

    @property
    def tokens_path(self) -> Path:
        """Where the digests of people's tokens are kept."""
        return self.data_dir / "admin_tokens.json"

    @property
    def audit_dir(self) -> Path:
        """The folder of audit segments."""
        return self.data_dir / "audit"

    @property
    def ess_path(self) -> Path:
        """The emergency stop's file; a file named HALT beside it engages the stop."""
        return self.data_dir / "ess"


def schema() -> dict[str, Any]:
    """The JSON schema of the settings file, for editors."""
    return Settings.model_json_schema()


# --- reading --------------------------------------------------------------------------------------

Tree = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Reading:
    """A tree of settings under construction, and where each value came from."""

    base: Path
    sources: dict[tuple[str, ...], str]  # key path -> "file:line", variable or flag
    hidden: set[tuple[str, ...]]  # key paths whose value came from a reference
    default_source: str

    def source_of(self, path: tuple[str, ...]) -> str:
        """The nearest known origin of a key path; of a section that a variable made, that variable."""
        inner = next((key for key in self.sources if key[: len(path)] == path), None)
        if path and path not in self.sources and inner is not None:
            return self.sources[inner]
        for length in range(len(path), -1, -1):
            if path[:length] in self.sources:
                return self.sources[path[:length]]
        return self.default_source

    def problem(self, path: tuple[str, ...], found: str, expected: str) -> Problem:
        return Problem(self.source_of(path), ".".join(path), found, expected)


def load(
    path: Path | str | None,
    overrides: Mapping[str, object] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Settings:
    """Read the settings of `path`, the environment and `overrides` (dotted key to value, from flags).

    Raises SettingsInvalid with every problem that could be found.
    """
    environ = os.environ if environ is None else environ
    file = None if path is None else Path(path).absolute()
    base = Path.cwd() if file is None else file.parent
    reading = _Reading(base, {}, set(), "(defaults)" if file is None else str(file))
    tree: Tree = {} if file is None else _read_file(file, reading)
    names = _apply_environment(tree, environ, reading)
    for key, value in (overrides or {}).items():
        _set(tree, tuple(key.split(".")), value, f"option {key}", reading)
    settings = _validated(tree, reading, environ)
    settings._environment_names = names
    return settings


def load_part(path: Path | str, sections: tuple[str, ...], environ: Mapping[str, str] | None = None) -> Settings:
    """Read some sections only, the others as defaults; references that cannot be resolved stay as written.

    For commands beside the running proxy: whoever stops it, or reads its record, need not have
    the exchange's secrets in their environment, nor a file that is right in every other section.
    """
    environ = os.environ if environ is None else environ
    file = Path(path).absolute()
    reading = _Reading(file.parent, {}, set(), str(file))
    tree = _read_file(file, reading)
    _apply_environment(tree, environ, reading)
    wanted = {key: value for key, value in tree.items() if key in sections}
    return _validated(wanted, reading, environ, references_required=False)


def from_mapping(tree: Mapping[str, Any], *, base: Path, source: str = "(built in)") -> Settings:
    """Settings from values in memory, under the same rules as a file's."""
    return _validated(dict(tree), _Reading(base, {}, set(), source), {})


def read_document(file: Path, sources: dict[tuple[str, ...], str] | None = None) -> Tree:
    """A YAML or TOML file as text, lists and keys, under the same rules as the settings; for policies.

    `sources` receives the line of every key of a YAML file.
    """
    return _read_file(file, _Reading(file.parent, {} if sources is None else sources, set(), str(file)))


def _read_file(file: Path, reading: _Reading) -> Tree:
    try:
        size = file.stat().st_size
        text = file.read_text("utf-8") if size <= FILE_BYTES_MAX else None
    except (OSError, UnicodeDecodeError) as error:
        found = getattr(error, "strerror", None) or "bytes that are not UTF-8"
        raise SettingsInvalid((Problem(str(file), "", found, "a readable YAML or TOML file"),)) from None
    if text is None:
        raise SettingsInvalid((Problem(str(file), "", f"{size} bytes", f"at most {FILE_BYTES_MAX}"),))
    if file.suffix == ".toml":
        return _read_toml(text, file)
    if file.suffix in (".yaml", ".yml"):
        return read_yaml(text, str(file), reading.sources)
    raise SettingsInvalid((Problem(str(file), "", f"the ending {file.suffix!r}", ".yaml, .yml or .toml"),))


def _read_toml(text: str, file: Path) -> Tree:
    try:
        return tomllib.loads(text, parse_float=Decimal)
    except tomllib.TOMLDecodeError as error:
        raise SettingsInvalid((Problem(str(file), "", str(error), "valid TOML"),)) from None


def read_yaml(text: str, source: str, sources: dict[tuple[str, ...], str] | None = None) -> Tree:
    """Read one YAML document with every scalar as text; a repeated key, a tag or a loop is refused.

    `sources` receives the line of every key. An unquoted empty value is None, a quoted one is "".
    """
    try:
        root = yaml.compose(text, Loader=yaml.BaseLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = source if mark is None else f"{source}:{mark.line + 1}"
        found = str(getattr(error, "problem", None) or "no document").removeprefix("found ")
        raise SettingsInvalid((Problem(where, "", found, "valid YAML"),)) from None
    if root is None:
        return {}
    value = _YamlReader(source, sources if sources is not None else {}).value(root, ())
    if not isinstance(value, dict):
        raise SettingsInvalid((Problem(source, "", "a single value or list", "keys with values"),))
    return value


class _YamlReader:
    """Turns YAML nodes into text, lists and dicts, remembering lines."""

    def __init__(self, source: str, sources: dict[tuple[str, ...], str]) -> None:
        self._source = source
        self._sources = sources
        self._open: set[int] = set()

    def value(self, node: yaml.Node, path: tuple[str, ...]) -> Any:  # noqa: ANN401 - a tree of text
        if node.tag not in _YAML_TAGS or id(node) in self._open:
            raise self._problem(node, path, f"the tag or loop {node.tag!r}", "plain text, lists and keys")
        if isinstance(node, yaml.ScalarNode):
            return None if node.value == "" and node.style is None else str(node.value)
        self._open.add(id(node))
        try:
            if isinstance(node, yaml.SequenceNode):
                return [self.value(item, (*path, str(index))) for index, item in enumerate(node.value)]
            return self._mapping(node, path)
        finally:
            self._open.discard(id(node))

    def _mapping(self, node: yaml.Node, path: tuple[str, ...]) -> Tree:
        tree: Tree = {}
        for key_node, value_node in node.value:
            key = self.value(key_node, path)
            if not isinstance(key, str):
                raise self._problem(key_node, path, "a list or an empty text as a key", "a word")
            inner = (*path, key)
            if key in tree:
                raise self._problem(key_node, inner, "the same key a second time", "each key once")
            self._sources[inner] = f"{self._source}:{key_node.start_mark.line + 1}"
            tree[key] = self.value(value_node, inner)
        return tree

    def _problem(self, node: yaml.Node, path: tuple[str, ...], found: str, expected: str) -> SettingsInvalid:
        line = node.start_mark.line + 1
        return SettingsInvalid((Problem(f"{self._source}:{line}", ".".join(path), found, expected),))


_YAML_TAGS = frozenset(f"tag:yaml.org,2002:{kind}" for kind in ("str", "seq", "map"))


def _apply_environment(tree: Tree, environ: Mapping[str, str], reading: _Reading) -> tuple[str, ...]:
    """Write `RISKGATE_A__B=value` to `a.b`; a value that starts with [ or { is read as YAML."""
    names = sorted(name for name in environ if name.startswith(ENVIRONMENT_PREFIX))
    names = [name for name in names if name != CONFIG_VARIABLE]
    for name in names:
        text = environ[name]
        source = f"environment variable {name}"
        value: object = text
        if text[:1] in ("[", "{"):
            value = read_yaml(f"value: {text}", source)["value"]
        _set(tree, tuple(name.removeprefix(ENVIRONMENT_PREFIX).lower().split("__")), value, source, reading)
    return tuple(names)


def _set(tree: Tree, path: tuple[str, ...], value: object, source: str, reading: _Reading) -> None:
    """Put a value at a key path; names already in the tree are met whatever their case."""
    place = tree
    spelt: list[str] = []
    for depth, part in enumerate(path):
        key = next((known for known in place if known.lower() == part.lower()), part)
        spelt.append(key)
        if depth == len(path) - 1:
            place[key] = value
        else:
            if not isinstance(place.get(key), dict):
                place[key] = {}
            place = place[key]
    reading.sources[tuple(spelt)] = source


# --- references -----------------------------------------------------------------------------------


def _resolve(value: Any, path: tuple[str, ...], context: _References) -> Any:  # noqa: ANN401 - a tree
    if isinstance(value, dict):
        return {key: _resolve(inner, (*path, str(key)), context) for key, inner in value.items()}
    if isinstance(value, list):
        return [_resolve(inner, (*path, str(index)), context) for index, inner in enumerate(value)]
    if isinstance(value, str) and "${" in value:
        context.reading.hidden.add(path)
        return context.text(value, path)
    return value


@dataclass(frozen=True, slots=True)
class _References:
    """What `${env:NAME}` and `${file:PATH}` stand for."""

    reading: _Reading
    environ: Mapping[str, str]
    problems: list[Problem]

    def text(self, value: str, path: tuple[str, ...]) -> str:
        if "${" in _REFERENCE.sub("", value):
            self._fail(path, "an unfinished reference", "${env:NAME} or ${file:PATH}")
            return value
        return _REFERENCE.sub(lambda found: self._one(found, path), value)

    def _one(self, found: re.Match[str], path: tuple[str, ...]) -> str:
        """What one reference stands for; where that cannot be said, the reference as written and a problem."""
        kind, _, name = found[1].partition(":")
        if kind == "env" and name:
            if name in self.environ:
                return self.environ[name]
            self._fail(path, f"{name}, which is not set", f"an environment variable {name}")
        elif kind == "file" and name:
            text = self._file(self.reading.base / name, path)
            if text is not None:
                return text
        else:
            self._fail(path, f"the reference {found[0]}", "${env:NAME} or ${file:PATH}")
        return found[0]

    def _file(self, file: Path, path: tuple[str, ...]) -> str | None:
        try:
            status = file.stat()
            if problem := _too_open(status.st_mode):
                self._fail(path, f"{file}, {problem}", f"a secret's file: chmod 600 {file}")
            elif status.st_size > SECRET_FILE_BYTES_MAX:
                self._fail(path, f"{file}, {status.st_size} bytes", f"at most {SECRET_FILE_BYTES_MAX}")
            else:
                return file.read_text("utf-8").removesuffix("\n").removesuffix("\r")
        except (OSError, UnicodeDecodeError) as error:
            found = getattr(error, "strerror", None) or "bytes that are not UTF-8"
            self._fail(path, f"{file}: {found}", "a readable text file")
        return None

    def _fail(self, path: tuple[str, ...], found: str, expected: str) -> None:
        self.problems.append(self.reading.problem(path, found, expected))


def _too_open(mode: int) -> str | None:
    """Why a secret's file mode is refused, or None; its group may read it, as mounted secrets need."""
    if mode & stat.S_IRWXO:
        return f"mode {stat.S_IMODE(mode):04o}, open to every user"
    if mode & stat.S_IWGRP:
        return f"mode {stat.S_IMODE(mode):04o}, writable by its group"
    return None


# --- judging --------------------------------------------------------------------------------------


def _validated(
    tree: Tree, reading: _Reading, environ: Mapping[str, str], *, references_required: bool = True
) -> Settings:
    unresolved: list[Problem] = []
    resolved = _resolve(tree, (), _References(reading, environ, unresolved))
    if unresolved and references_required:
        raise SettingsInvalid(tuple(unresolved))
    try:
        settings = Settings.model_validate(resolved)
    except ValidationError as error:
        details = error.errors(include_url=False)
        problems = tuple(_explain(detail, resolved, reading) for detail in details)
        raise SettingsInvalid(tuple(dict.fromkeys(problems))) from None
    settings = _absolute(settings, reading.base)
    settings._source = reading.default_source
    refused = tuple(
        _refused(tuple(key.split(".")), found, expected, resolved, reading)
        for check in _CHECKS
        for key, found, expected in check(settings)
    )
    refused += tuple(_open_secrets(settings, reading))
    if refused:
        raise SettingsInvalid(refused)
    return settings


def _refused(path: tuple[str, ...], found: str, expected: str, tree: Tree, reading: _Reading) -> Problem:
    """What a check found, without the value if that came from a reference: it may be a secret in a wrong place."""
    value = str(_at(tree, path) or "")
    if value and path in reading.hidden:
        found = found.replace(value, _HIDDEN)
    return reading.problem(path, found, expected)


def _open_secrets(settings: Settings, reading: _Reading) -> Iterator[Problem]:
    """Secrets that stand in the settings file itself, while others can use that file."""
    file = Path(reading.default_source)
    problem = _too_open(file.stat().st_mode) if file.is_absolute() and file.is_file() else None
    if problem is None:
        return
    store: list[tuple[str, ...]] = [("store", "password")] if settings.store.password else []
    store += [("store", "url")] if urlsplit(settings.store.url).password else []
    notify = settings.notify
    told: list[tuple[str, ...]] = [("notify", "apprise")] if notify.apprise else []
    told += [("notify", "telegram", "token")] if notify.telegram else []
    told += [("notify", "webhook", "secret")] if notify.webhook and notify.webhook.secret else []
    traced: list[tuple[str, ...]] = [("telemetry", "headers", name) for name in settings.telemetry.headers]
    anchor = settings.audit.anchor
    anchored: list[tuple[str, ...]] = [("audit", "anchor", "secret")] if anchor.secret else []
    anchored += [("audit", "anchor", "webhook", "secret")] if anchor.webhook and anchor.webhook.secret else []
    groups = [store, told, traced, anchored]
    for account_name, account in settings.accounts.items():
        here = ("accounts", account_name)
        places: list[tuple[str, ...]] = [(*here, "credentials", "secret")] if account.credentials else []
        places += [(*here, "bots", name, "secret") for name, bot in account.bots.items() if bot.secret]
        groups.append(places)
    for places in groups:
        for path in places:
            if path not in reading.hidden and reading.source_of(path).startswith(reading.default_source):
                yield reading.problem(
                    path, f"a secret in a file with {problem}", f"a reference, ${{file:PATH}}, or chmod 600 {file}"
                )


def _absolute(settings: Settings, base: Path) -> Settings:
    """The same settings with every path made absolute; relative ones start at the settings file."""

    def tls(value: Tls | None) -> Tls | None:
        return None if value is None else Tls(cert=base / value.cert, key=base / value.key)

    def path(value: Path | None) -> Path | None:
        return None if value is None else base / value

    def admin_tls(value: AdminTls | None) -> AdminTls | None:
        if value is None:
            return None
        return AdminTls(
            cert=base / value.cert, key=base / value.key, client_ca=path(value.client_ca),
            client_cert=path(value.client_cert),
        )  # fmt: skip

    return settings.model_copy(
        update={
            "data_dir": base / settings.data_dir,
            "audit": settings.audit.model_copy(
                update={
                    "second_dir": path(settings.audit.second_dir),
                    "anchor": settings.audit.anchor.model_copy(update={"dir": path(settings.audit.anchor.dir)}),
                }
            ),
            "policy_file": path(settings.policy_file),
            "listen": settings.listen.model_copy(update={"tls": tls(settings.listen.tls)}),
            "admin": settings.admin.model_copy(update={"tls": admin_tls(settings.admin.tls)}),
            "upstream": settings.upstream.model_copy(update={"ca_file": path(settings.upstream.ca_file)}),
        }
    )


Refusal = tuple[str, str, str]  # key, found, expected


def _check_admin(settings: Settings) -> Iterator[Refusal]:
    admin = settings.admin
    if not (admin.bind.is_loopback or admin.tls or admin.allow_public):
        yield (
            "admin.bind", f"{admin.bind}, which other machines can reach, without TLS",
            "a loopback address, admin.tls, or admin.allow_public: true",
        )
    if admin.bind.port != 0 and admin.bind == settings.listen.bind:
        yield "admin.bind", f"{admin.bind}, the address bots connect to", "an address of its own"


def _check_upstream(settings: Settings) -> Iterator[Refusal]:
    upstream = settings.upstream
    for prefix, origin in upstream.hosts.items():
        parts = urlsplit(origin)
        if parts.scheme == "http" and not (_is_loopback(parts.hostname or "") or upstream.allow_plain_http):
            yield f"upstream.{prefix[1:]}", "plain http to another machine", (
                "https, or upstream.allow_plain_http: true"
            )
    for name in ("fapi", "api", "ws_api"):
        origin = getattr(upstream.streams, name)
        if origin is None:
            continue
        parts = urlsplit(origin)
        if parts.scheme == "ws" and not (_is_loopback(parts.hostname or "") or upstream.allow_plain_http):
            yield f"upstream.streams.{name}", "plain ws to another machine", "wss, or upstream.allow_plain_http: true"
    if upstream.connections_warm > upstream.connections_max:
        yield "upstream.connections_warm", str(upstream.connections_warm), (
            f"at most upstream.connections_max ({upstream.connections_max})"
        )
    if upstream.connect_timeout <= 0 or upstream.total_timeout < upstream.connect_timeout:
        yield "upstream.total_timeout", f"{upstream.total_timeout:g}s", (
            f"more than nothing, and not less than connect_timeout ({upstream.connect_timeout:g}s)"
        )


def _check_audit(settings: Settings) -> Iterator[Refusal]:
    audit, data_dir = settings.audit, settings.data_dir
    for key, folder in (("audit.second_dir", audit.second_dir), ("audit.anchor.dir", audit.anchor.dir)):
        if folder is not None and folder.resolve().is_relative_to(data_dir.resolve()):
            yield key, f"{folder}, inside data_dir", "a folder elsewhere, best on another disk or machine"
    second, anchors = audit.second_dir, audit.anchor.dir
    if second is not None and anchors is not None and anchors.resolve().is_relative_to(second.resolve()):
        yield "audit.anchor.dir", f"{anchors}, inside audit.second_dir", "a folder elsewhere"
    if not 1 <= audit.anchor.interval <= 3600:
        yield "audit.anchor.interval", f"{audit.anchor.interval:g}s", "1s to 1h"
    if audit.keep is not None and audit.keep < KEEP_MIN_S:
        yield "audit.keep", f"{audit.keep:g}s", "at least 30d: an order that rests for weeks is known by its record"
    if audit.anchor.secret is not None and anchors is None:
        yield "audit.anchor.secret", "a secret", "an audit.anchor.dir whose lines it signs, or no secret"
    hook = audit.anchor.webhook
    if hook is not None:
        parts = urlsplit(hook.url)
        if parts.scheme == "http" and not _is_loopback(parts.hostname or ""):
            yield "audit.anchor.webhook.url", "plain http to another machine", "https: else it could be told anything"


def _check_store_and_risk(settings: Settings) -> Iterator[Refusal]:
    if settings.store.url == "memory" and not settings.store.allow_memory:
        yield "store.url", "memory, which forgets every policy change at the next start", (
            "sqlite, or store.allow_memory: true"
        )
    store = settings.store
    try:
        in_url = urlsplit(store.url).password
    except ValueError:
        yield "store.url", "a URL that cannot be read", "one whose password has no special characters unescaped"
        in_url = None
    if in_url and store.password is not None:
        yield "store.password", "a password here and another in store.url", "one of them"
    if store.password is not None and store.url.partition(":")[0] in ("sqlite", "memory"):
        yield "store.password", "a password", f"none: {store.url.partition(':')[0]} asks for none"
    if not 0.05 <= store.poll_interval <= store.age_max / 2:
        yield "store.poll_interval", f"{store.poll_interval:g}s", (
            f"at least 50ms, and at most half of store.age_max ({store.age_max:g}s)"
        )
    if not 0.05 <= store.timeout <= store.age_max:
        yield "store.timeout", f"{store.timeout:g}s", f"at least 50ms, and at most store.age_max ({store.age_max:g}s)"
    risk = settings.global_risk
    if risk.source == "remote" and risk.url is None:
        yield "global_risk.url", "nothing", "the URL of the risk signal, since global_risk.source is remote"
    if risk.source != "remote" and risk.url is not None:
        yield "global_risk.source", f"{risk.source} beside a URL", "remote, or no global_risk.url"
    if risk.source != "remote" and risk.token is not None:
        yield "global_risk.token", f"a token beside source {risk.source}", "source remote, or no global_risk.token"
    if risk.token is not None and risk.url is not None:
        parts = urlsplit(risk.url)
        if parts.scheme == "http" and not _is_loopback(parts.hostname or ""):
            yield "global_risk.url", "plain http to another machine, beside a token", "https: the token would be seen"
    if risk.history_min_days > risk.lookback_days:
        yield "global_risk.history_min_days", str(risk.history_min_days), (
            f"at most global_risk.lookback_days ({risk.lookback_days})"
        )
    if risk.source == "none" and risk.trip != "none":
        yield "global_risk.trip", f"{risk.trip} without a signal", "none, or a source"
    for key, value in (
        ("global_risk.interval", risk.interval),
        ("feeds.account_interval", settings.feeds.account_interval),
        ("feeds.snapshot_interval", settings.feeds.snapshot_interval),
        ("feeds.reconcile_interval", settings.feeds.reconcile_interval),
        ("feeds.market_interval", settings.feeds.market_interval),
    ):
        if value < 0.05:
            yield key, f"{value:g}s", "at least 50ms"


def _check_accounts(settings: Settings) -> Iterator[Refusal]:
    owners: dict[str, str] = {}
    for account_name, account in settings.accounts.items():
        place = f"accounts.{account_name}"
        custody = account.mode == "custody"
        if not account.markets:
            yield f"{place}.markets", "an empty list", "spot, futures, or both"
        if custody and account.credentials is None:
            yield f"{place}.credentials", "nothing", "the exchange's key and secret: custody signs for bots"
        if account.credentials is None and account.static_equity is None:
            expected = "credentials to read the account with (a key that may only read is enough)"
            yield f"{place}.credentials", "nothing", expected
        venue_key = account.credentials.api_key.get_secret_value() if account.credentials else None
        for bot_name, bot in account.bots.items():
            here = f"{place}.bots.{bot_name}"
            key = bot.key.get_secret_value()
            if key in owners:
                yield f"{here}.key", f"the key of {owners[key]}", "a key of its own: the key says who asks"
            owners[key] = here
            if custody and bot.secret is None:
                yield f"{here}.secret", "nothing", "the secret the proxy issued to this bot"
            if custody and key == venue_key:
                yield f"{here}.key", "the exchange's own key", "a key the proxy issued, or mode: passthrough"
            if not custody and bot.secret is not None:
                yield f"{here}.secret", "a secret", "none: a passthrough bot signs for the exchange itself"


def _check_notify(settings: Settings) -> Iterator[Refusal]:
    notify = settings.notify
    if notify.digest_interval < 1:
        yield "notify.digest_interval", f"{notify.digest_interval:g}s", "at least 1s"
    hook = notify.webhook
    if hook is not None:
        parts = urlsplit(hook.url)
        if parts.scheme == "http" and not _is_loopback(parts.hostname or ""):
            yield "notify.webhook.url", "plain http to another machine", "https: alerts say what an account does"
    bot = notify.telegram
    if bot is None:
        return
    parts = urlsplit(bot.api)
    if parts.scheme == "http" and not _is_loopback(parts.hostname or ""):
        yield "notify.telegram.api", "plain http to another machine", "https: the token would be seen"
    if not bot.users:
        yield "notify.telegram.users", "nobody", "at least one user id, else nobody is told"
    for user in bot.users:
        if not (user.isascii() and user.isdigit()):
            yield f"notify.telegram.users.{user}", "a name", "a user's numeric id, as Telegram's own bots show it"


def _check_permits(settings: Settings) -> Iterator[Refusal]:
    permits = settings.permits
    for key, value, lowest, highest, said in (
        ("approval_wait", permits.approval_wait, 10, 86_400, "10s to 1d"),
        ("approval_valid", permits.approval_valid, 5, 3600, "5s to 1h"),
        ("override_valid", permits.override_valid, 5, 900, "5s to 15m: what is needed longer is a policy"),
    ):
        if not lowest <= value <= highest:
            yield f"permits.{key}", f"{value:g}s", said
    if not 0 < permits.price_tolerance <= Decimal("0.1"):
        yield "permits.price_tolerance", f"{permits.price_tolerance}", 'a share of the price, at most "0.1"'
    for name, account in settings.accounts.items():
        ceiling = account.override_notional_max
        if ceiling is not None and ceiling <= 0:
            yield f"accounts.{name}.override_notional_max", f"{ceiling}", "an amount above 0, or none: then it is off"


def _check_telemetry(settings: Settings) -> Iterator[Refusal]:
    telemetry = settings.telemetry
    parts = urlsplit(telemetry.endpoint or "")
    if parts.scheme == "http" and not _is_loopback(parts.hostname or ""):
        yield "telemetry.endpoint", "plain http to another machine", "https: spans say what an account does"
    if telemetry.sample > 1:
        yield "telemetry.sample", f"{telemetry.sample}", 'a share of all orders, at most "1"'


def _check_files(settings: Settings) -> Iterator[Refusal]:
    wanted: list[tuple[str, Path | None]] = [
        ("policy_file", settings.policy_file),
        ("upstream.ca_file", settings.upstream.ca_file),
    ]
    for section, tls in (("listen", settings.listen.tls), ("admin", settings.admin.tls)):
        if tls is not None:
            wanted += [(f"{section}.tls.cert", tls.cert), (f"{section}.tls.key", tls.key)]
    if (own := settings.admin.tls) is not None:
        wanted += [("admin.tls.client_ca", own.client_ca), ("admin.tls.client_cert", own.client_cert)]
    for key, file in wanted:
        if file is None:
            continue
        if not _is_file(file):
            yield key, f"{file}, which is not a file", "a readable file"
        elif key.endswith((".key", ".client_cert")) and (problem := _too_open(file.stat().st_mode)):
            yield key, f"{file}, {problem}", f"a secret's file: chmod 600 {file}"


def _is_file(file: Path) -> bool:
    try:
        return file.is_file()
    except (OSError, ValueError):  # no name of a file at all: too long, such as a key that stands in its place
        return False


_CHECKS: tuple[Callable[[Settings], Iterator[Refusal]], ...] = (
    _check_admin, _check_upstream, _check_audit, _check_store_and_risk, _check_accounts, _check_notify,
    _check_permits, _check_telemetry, _check_files,
)  # fmt: skip


# --- explaining -----------------------------------------------------------------------------------

_EXPECTED = {
    "missing": "a value; the key is required",
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "string_type": "a text",
    "model_type": "keys with values",
    "dict_type": "keys with values",
    "tuple_type": "a list",
    "path_type": "a path",
}
_BOUNDS = {"ge": "at least", "le": "at most"}


def _explain(detail: ErrorDetails, tree: Tree, reading: _Reading) -> Problem:
    """Say a pydantic finding in our words: where, found, expected."""
    path = tuple(str(part) for part in detail["loc"] if part != "[key]")
    kind = detail["type"]
    if kind == "extra_forbidden":
        return reading.problem(path, f"the unknown key {path[-1]!r}", _known_keys(path))
    value = _at(tree, path)
    found = "nothing" if kind == "missing" else _shown(value, path, reading)
    if kind in ("model_type", "dict_type") and isinstance(value, str):
        found = _HIDDEN  # one text where several belong is often the secret among them
    if kind == "value_error":
        expected = detail["msg"].removeprefix("Value error, ")
    elif kind == "literal_error":
        expected = str(detail["ctx"]["expected"])
    elif kind in ("greater_than_equal", "less_than_equal"):
        expected = " ".join(f"{_BOUNDS[name]} {bound}" for name, bound in detail["ctx"].items())
    else:
        expected = _EXPECTED.get(kind) or detail["msg"].removeprefix("Input should be ").lower()
    return reading.problem(path, found, expected)


def _shown(value: object, path: tuple[str, ...], reading: _Reading) -> str:
    if value is None:
        return "nothing"
    if path in reading.hidden or _may_be_secret(path) or "@" in str(value):
        return _HIDDEN  # an @ may end a user's name and password in a URL
    if isinstance(value, dict | list | tuple):
        return "keys with values" if isinstance(value, dict) else "a list"
    return repr(value) if len(repr(value)) <= 80 else f"{repr(value)[:80]}..."


def _may_be_secret(path: tuple[str, ...]) -> bool:
    """Whether a key's value may be a secret, or name one: some URLs are as good as a password."""
    before, last = ("", *path)[-2:]
    return (
        last in ("secret", "key", "api_key", "password", "token", "apprise")
        or before in ("headers", "apprise")
        or (before, last) in (("store", "url"), ("webhook", "url"))
    )


def _at(tree: object, path: tuple[str, ...]) -> object:
    for part in path:
        if isinstance(tree, dict):
            tree = tree.get(part)
        elif isinstance(tree, list | tuple) and part.isdigit() and int(part) < len(tree):
            tree = tree[int(part)]
        else:
            return None
    return tree


def _known_keys(path: tuple[str, ...]) -> str:
    """The keys that are known where an unknown one stands, and the nearest of them."""
    from difflib import get_close_matches  # only when something is wrong

    model: object = Settings
    for part in path[:-1]:
        model = _inner(model, part)
    known = list(model.model_fields) if isinstance(model, type) and issubclass(model, BaseModel) else []
    near = get_close_matches(path[-1], known, n=1)
    return (f"{near[0]!r}? known here: " if near else "one of ") + ", ".join(known)


def _inner(model: object, part: str) -> object:
    """The type that stands under a key of a type: a field's section, or a dict's value."""
    if isinstance(model, type) and issubclass(model, BaseModel):
        field = model.model_fields.get(part)
        annotation: object = None if field is None else field.annotation
    else:
        annotation = get_args(model)[1] if get_origin(model) is dict else None
    if get_origin(annotation) in (Union, UnionType):
        annotation = next((arm for arm in get_args(annotation) if arm is not type(None)), None)
    return annotation


def fields(model: type[BaseModel] = Settings, prefix: str = "") -> Iterator[str]:
    """Every setting's dotted path, with `NAME` where a name of the user's own stands."""
    for name in model.model_fields:
        inner = _inner(model, name)
        path = f"{prefix}{name}"
        if get_origin(inner) is dict and isinstance(value := get_args(inner)[1], type):
            inner, path = value, f"{path}.NAME"
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from fields(inner, f"{path}.")
        else:
            yield f"{prefix}{name}"
