"""A snippet names every URL an order can leave by, and nothing in it points past the proxy."""

import ast
import json
import re

import pytest

from proxy.cli.main import run
from proxy.cli.snippets import CCXT_URLS, SNIPPETS

# The keys ccxt's binance class can send a private request to; missing one means a bypass.
CCXT_PRIVATE = {
    "private", "sapi", "sapiV2", "sapiV3", "sapiV4", "fapiPrivate", "fapiPrivateV2", "fapiPrivateV3",
    "dapiPrivate", "dapiPrivateV2", "eapiPrivate", "papi", "papiV2",
}  # fmt: skip


@pytest.fixture
def printed(folder, capsys):
    """Prints a snippet for the folder that `init` made."""
    capsys.readouterr()

    def show(client: str, *options: str) -> str:
        assert run(["snippet", client, "--config", str(folder / "riskgate.yaml"), *options]) == 0
        return capsys.readouterr().out

    return show


@pytest.mark.parametrize("client", SNIPPETS)
def test_no_snippet_points_at_the_exchange(printed, client):
    """Every URL printed is the proxy's, by address or under the own domain; none is the exchange's."""
    urls = re.findall(r"https?://[^\"'\s)]+", printed(client))

    assert urls
    assert all(re.match(r"http://127\.0\.0\.1:8080|https://[a-z]+\.gate\.example:8080", url) for url in urls)


@pytest.mark.parametrize("client", SNIPPETS)
def test_every_snippet_warns_of_ways_around_http(printed, client):
    """WebSocket and FIX orders pass no HTTP proxy; every snippet says so."""
    assert "WebSocket" in printed(client)


@pytest.mark.parametrize("client", SNIPPETS)
def test_no_snippet_contains_a_key_or_secret(printed, folder, client):
    """Snippets name whose key to use; the values stay in their files."""
    text = printed(client)

    for name in ("bot_grid1_key", "bot_grid1_secret"):
        assert (folder / "data" / name).read_text().strip() not in text
    assert "main/grid1" in text


def test_ccxt_gets_every_private_url(printed):
    """Overriding one URL of ccxt leaves the others at the exchange; all that can carry an order are there."""
    first, second = (
        ast.literal_eval(found) for found in re.findall(r"ccxt\.binance\((\{.*?\n\})\)", printed("ccxt"), re.DOTALL)
    )

    assert set(CCXT_URLS) >= CCXT_PRIVATE
    assert set(first["urls"]["api"]) == set(second["urls"]["api"]) == set(CCXT_URLS)
    assert first["urls"]["api"]["fapiPrivate"] == "http://127.0.0.1:8080/fapi/v1"


def test_the_own_domain_keeps_ccxt_error_mapping(printed):
    """ccxt finds its table by a URL that starts with https://FAMILY.HOSTNAME/; every URL printed does.

    A port is part of that comparison, so it must be part of `hostname`; and ccxt has no table for a
    host called sapi.
    """
    own = re.findall(r"ccxt\.binance\((\{.*?\n\})\)", printed("ccxt"), re.DOTALL)[1]
    settings = ast.literal_eval(own)

    assert settings["hostname"] == "gate.example:8080"
    starts = tuple(f"https://{host}.{settings['hostname']}/" for host in ("api", "dapi", "fapi", "eapi", "papi"))
    assert [url for url in settings["urls"]["api"].values() if not url.startswith(starts)] == []
    for name, (family, path) in CCXT_URLS.items():
        host = "api" if family == "sapi" else family
        assert settings["urls"]["api"][name] == f"https://{host}.gate.example:8080{path}"


def test_on_the_usual_port_the_hostname_has_none(folder, printed):
    """On port 443 neither URLs nor `hostname` carry a port."""
    file = folder / "riskgate.yaml"
    file.write_text(file.read_text().replace("127.0.0.1:8080", "127.0.0.1:443"))
    text = printed("ccxt")

    assert '"hostname": "gate.example"' in text
    assert "https://fapi.gate.example/fapi/v1" in text


def test_the_own_domain_comes_from_the_settings(folder, printed):
    """host_families name the domain; the snippet uses it."""
    file = folder / "riskgate.yaml"
    text = file.read_text().replace("# host_families: {api.gate.example: /api, fapi.gate.example: /fapi}",
                                    "host_families: {api.desk.test: /api, fapi.desk.test: /fapi}")
    file.write_text(text)

    assert "https://fapi.desk.test:8080/fapi/v1" in printed("ccxt")


def test_freqtrade_reaches_both_of_its_clients(printed):
    """freqtrade has a sync and an async client; ccxt_config and ccxt_async_config both carry the URLs."""
    text = re.sub(r"^//.*$", "", printed("freqtrade"), flags=re.MULTILINE)
    first, _ = json.JSONDecoder().raw_decode(text.strip())

    assert set(first["exchange"]["ccxt_config"]["urls"]["api"]) == set(CCXT_URLS)
    assert first["exchange"]["ccxt_async_config"] == first["exchange"]["ccxt_config"]


def test_python_binance_is_not_allowed_to_ask_the_exchange_first(printed):
    """The constructor's ping would reach the exchange before the URLs are set."""
    text = printed("python-binance")

    assert "ping=False" in text
    assert {"API_URL", "MARGIN_API_URL", "FUTURES_URL", "FUTURES_COIN_URL", "OPTIONS_URL", "PAPI_URL"} <= set(
        re.findall(r"client\.([A-Z_]+) =", text)
    )


@pytest.mark.parametrize(
    "client", ["python-binance", "binance-connector", "binance-futures-connector", "binance-sdk", "hummingbot"]
)
def test_python_snippets_are_python(printed, client):
    """What is meant to be pasted into a script can be compiled."""
    compile(printed(client), client, "exec")


def test_the_files_of_key_and_secret_are_named_and_their_contents_are_not(folder, printed):
    """Whoever pastes the snippet knows where to look; what is in there is not printed."""
    text = printed("ccxt")

    assert f"# KEY_OF_main/grid1 is the content of {folder}/data/bot_grid1_key\n" in text
    assert f"# SECRET_OF_main/grid1 is the content of {folder}/data/bot_grid1_secret\n" in text
    assert (folder / "data" / "bot_grid1_key").read_text().strip() not in text
    assert printed("freqtrade").startswith("// KEY_OF_main/grid1 is")


def test_every_binance_sdk_package_has_the_same_snippet(printed):
    """The packages are named one by one on the package index; all take the same setting."""
    assert printed("binance-sdk-spot") == printed("binance-sdk-derivatives-trading-usds-futures") == printed(
        "binance-sdk"
    )


def test_an_unknown_client_lists_the_known_ones(folder, capsys):
    """A mistyped client is a usage error that names all clients."""
    assert run(["snippet", "ccxtt", "--config", str(folder / "riskgate.yaml")]) == 2
    assert "python-binance" in capsys.readouterr().err


def test_an_unknown_bot_lists_the_known_ones(folder, capsys):
    """--bot names ACCOUNT/BOT; another name is refused with the known ones."""
    assert run(["snippet", "ccxt", "--bot", "main/grid2", "--config", str(folder / "riskgate.yaml")]) == 2
    assert "main/grid1" in capsys.readouterr().err
