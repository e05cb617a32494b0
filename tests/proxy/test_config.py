"""Settings: every way to be wrong is refused and explained, and every right way means what it says."""

import json
import re
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config import (
    EXCHANGES_KNOWN,
    Bind,
    SettingsInvalid,
    fields,
    from_mapping,
    load,
    load_part,
    parse_duration,
    read_yaml,
    schema,
)
from proxy.exchanges import EXCHANGES
from tests.canary import WORD

BROKEN = Path(__file__).parents[1] / "data" / "broken_configs"
EXPECTED = json.loads((BROKEN / "expected.json").read_text("utf-8"))


def written(folder: Path, text: str, name: str = "riskgate.yaml") -> Path:
    """A settings file with this text."""
    file = folder / name
    file.write_text(text, "utf-8")
    file.chmod(0o600)  # some of them hold secrets
    return file


def problems_of(file: Path, environ: dict[str, str] | None = None) -> list[str]:
    """The problems of a file, one sentence each."""
    with pytest.raises(SettingsInvalid) as caught:
        load(file, environ=environ or {})
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_broken_file_is_refused_with_file_key_found_and_expected(tmp_path, name):
    """Each broken file stops the start with exactly the sentences that were agreed on."""
    file = written(tmp_path, (BROKEN / name).read_text("utf-8"), name)
    found = [sentence.replace(f"{tmp_path}/", "") for sentence in problems_of(file)]

    assert found == EXPECTED[name]


def test_every_broken_file_has_its_sentences():
    """A broken file without agreed sentences would test nothing."""
    files = {file.name for file in BROKEN.iterdir() if file.suffix in (".yaml", ".toml")}

    assert files == set(EXPECTED)
    assert all(re.fullmatch(r".+: .+: found .+; expected .+", line) for lines in EXPECTED.values() for line in lines)


def test_no_file_means_defaults_on_loopback():
    """Without a file both listeners are on this machine only and the upstream is Binance over https."""
    settings = load(None, environ={})

    assert (settings.listen.bind, settings.admin.bind) == (Bind("127.0.0.1", 8080), Bind("127.0.0.1", 8099))
    assert settings.upstream.hosts["/fapi"] == "https://fapi.binance.com"
    assert settings.audit.sync == "power"
    assert settings.listen.drain_timeout == 25.0


def test_all_problems_are_told_at_once(tmp_path):
    """Two mistakes in one file are two sentences, not one start each."""
    file = written(tmp_path, "listen: {prot: 1}\nlog: {level: loud}\n")

    assert len(problems_of(file)) == 2


def test_a_flag_beats_the_environment_beats_the_file_beats_the_default(tmp_path):
    """The precedence is flag, environment, file, default, each shown by one key."""
    file = written(
        tmp_path, "listen: {bind: 127.0.0.1:1, drain_delay: 1s, drain_timeout: 1s}\n"
    )
    settings = load(
        file,
        {"listen.bind": "127.0.0.1:3"},
        {"RISKGATE_LISTEN__BIND": "127.0.0.1:2", "RISKGATE_LISTEN__DRAIN_DELAY": "2s"},
    )

    assert settings.listen.bind.port == 3
    assert settings.listen.drain_delay == 2.0
    assert settings.listen.drain_timeout == 1.0
    assert settings.listen.connections_max == 2000
    assert settings.environment_names == ("RISKGATE_LISTEN__BIND", "RISKGATE_LISTEN__DRAIN_DELAY")


def test_an_unknown_environment_variable_is_refused_by_name(tmp_path):
    """A mistyped RISKGATE_ variable is an error that names it, as a mistyped key is."""
    sentences = problems_of(written(tmp_path, ""), {"RISKGATE_LISTEN__PROT": "1"})

    assert sentences[0].startswith("environment variable RISKGATE_LISTEN__PROT: listen.prot: found the unknown key")


def test_an_unknown_section_of_the_environment_is_not_blamed_on_the_file(tmp_path):
    """Where a variable alone makes a section that does not exist, the variable is named, not the file."""
    sentences = problems_of(written(tmp_path, ""), {"RISKGATE_PROXY__BIND": "127.0.0.1:1"})

    assert sentences[0].startswith("environment variable RISKGATE_PROXY__BIND: proxy: found the unknown key")


def test_the_variable_that_names_the_file_is_no_setting(tmp_path):
    """RISKGATE_CONFIG is how the file was found and changes nothing in it."""
    assert load(written(tmp_path, ""), environ={"RISKGATE_CONFIG": "x"}).environment_names == ()


def test_the_environment_meets_account_names_whatever_their_case(tmp_path):
    """RISKGATE_ACCOUNTS__MAIN__... changes the account written as Main and makes no second one."""
    file = written(tmp_path, 'accounts: {Main: {mode: passthrough, static_equity: "1"}}')
    settings = load(file, environ={"RISKGATE_ACCOUNTS__MAIN__STATIC_EQUITY": "7"})

    assert settings.accounts["Main"].static_equity == 7
    assert list(settings.accounts) == ["Main"]


def test_the_environment_can_hold_lists(tmp_path):
    """A value in brackets is a list, for keys that want one."""
    file = written(tmp_path, 'accounts: {main: {mode: passthrough, static_equity: "1"}}')
    settings = load(file, environ={"RISKGATE_ACCOUNTS__MAIN__MARKETS": "[futures]"})

    assert settings.accounts["main"].markets == ("futures",)


def custody(secret: str) -> str:
    """A custody account with this text as its venue secret."""
    return f"accounts: {{main: {{mode: custody, credentials: {{api_key: k, secret: '{secret}'}}}}}}"


def test_references_are_resolved_from_environment_and_file(tmp_path):
    """A secret may stand in a variable or in a file beside the settings, whose last line end is dropped."""
    (tmp_path / "secret").write_text("from the file\n")
    (tmp_path / "secret").chmod(0o600)
    by_file = load(written(tmp_path, custody("${file:secret}")), environ={})
    by_variable = load(written(tmp_path, custody("${env:S}")), environ={"S": "from the variable"})

    assert by_file.accounts["main"].credentials.secret.get_secret_value() == "from the file"
    assert by_variable.accounts["main"].credentials.secret.get_secret_value() == "from the variable"


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o620, 0o666])
def test_a_secret_that_others_can_use_is_refused(tmp_path, mode):
    """A secret's file that every user can read, or the group write, stops the start and says how to cure it."""
    (tmp_path / "secret").write_text("s3cret")
    (tmp_path / "secret").chmod(mode)

    (sentence,) = problems_of(written(tmp_path, custody("${file:secret}")))
    assert f"mode {mode:04o}" in sentence
    assert "chmod 600" in sentence


def test_a_secret_in_a_settings_file_that_others_can_read_is_refused(tmp_path):
    """A secret written into the settings makes that file a secret's file; a reference would not."""
    file = written(tmp_path, custody("inline"))
    file.chmod(0o644)
    (sentence,) = problems_of(file)
    assert "accounts.main.credentials.secret: found a secret in a file with mode 0644" in sentence
    assert "inline" not in sentence

    file = written(tmp_path, custody("${env:S}"))
    file.chmod(0o644)
    assert load(file, environ={"S": "by reference"})


def test_a_secret_its_group_can_read_is_accepted(tmp_path):
    """Mounted secrets are often group-readable; that is enough for them and no wider."""
    (tmp_path / "secret").write_text("s3cret")
    (tmp_path / "secret").chmod(0o440)

    assert load(written(tmp_path, custody("${file:secret}")), environ={})


def test_secrets_appear_in_no_repr_no_dump_and_no_problem(tmp_path):
    """A canary in every secret place is found neither in the settings' texts nor in what is said of errors."""
    canary = WORD
    text = (
        f"accounts: {{main: {{mode: custody, credentials: {{api_key: {canary}1, secret: {canary}2}},"
        f" bots: {{a: {{key: {canary}3, secret: {canary}4}}}}}}}}"
    )
    settings = load(written(tmp_path, text), environ={})
    broken = written(tmp_path, text.replace(f"secret: {canary}2", f"secret: [{canary}2]").replace("a: {", "a: {x: 1, "))
    from_reference = written(tmp_path, "upstream: {api: '${env:C}', total_timeout: '${env:C}'}")

    said = [repr(settings), str(settings), settings.model_dump_json(), json.dumps(settings.model_dump(mode="json"))]
    said += problems_of(broken) + problems_of(from_reference, {"C": canary})
    assert canary not in "".join(said)


HOOK = "https://hooks.example/services/" + WORD
URLS = f'''
store: {{url: "postgresql://risk:{WORD}@h/policies"}}
notify: {{webhook: {{url: "{HOOK}", secret: {WORD}}}, apprise: ["ntfys://u:{WORD}@h/topic"]}}
audit: {{anchor: {{dir: anchors, webhook: {{url: "{HOOK}?t={WORD}"}}}}}}
'''


def test_urls_that_hold_secrets_are_shown_without_them(tmp_path):
    """A password, and the path of a hook, which is as good as one, stand in no text of settings that are right."""
    settings = load(written(tmp_path, URLS), environ={})
    dumped = settings.model_dump(mode="json")

    assert settings.notify.webhook.url == HOOK
    assert WORD not in repr(settings) + str(settings) + json.dumps(dumped)
    assert dumped["notify"]["webhook"]["url"] == "https://hooks.example/..."


@pytest.mark.parametrize(
    "text",
    [
        # One text where keys with values belong: the secret itself, most likely.
        f"accounts: {{main: {{mode: custody, credentials: {WORD}}}}}",
        f"accounts: {{main: {{mode: passthrough, bots: {{a: {WORD}}}}}}}",
        f"telemetry: {{headers: {WORD}}}", f"notify: {{telegram: {WORD}}}", f"notify: {{apprise: 'tgram://{WORD}/1'}}",
        f"notify: {{webhook: '{HOOK}'}}", f"audit: {{anchor: {{webhook: '{HOOK}'}}}}", f"store: {WORD}",
        # URLs that are none of those that are taken.
        f"notify: {{webhook: {{url: 'htps://hooks.example/{WORD}'}}}}", f"store: {{url: 'postgresq://h/p?password={WORD}'}}",
        f"store: {{url: 'mysql://u:{WORD}@h/p'}}", f"store: {{url: 'redis://[{WORD}'}}",
        f"notify: {{webhook: {{url: 'https://u:{WORD}@h/x'}}}}", f"upstream: {{fapi: 'https://u:{WORD}@h'}}",
        f"upstream: {{streams: {{fapi: 'wss://u:{WORD}@h'}}}}", f"telemetry: {{endpoint: 'https://u:{WORD}@h'}}",
        f"global_risk: {{source: remote, url: 'https://u:{WORD}@h'}}", f"notify: {{apprise: [[{WORD}]]}}",
    ],
)  # fmt: skip
def test_a_secret_in_the_wrong_form_is_not_shown(tmp_path, text):
    """What is found where something else was expected may be a secret all the same."""
    sentences = problems_of(written(tmp_path, text))

    assert sentences
    assert WORD not in "".join(sentences)


@pytest.mark.parametrize("length", [1, 40])
@pytest.mark.parametrize("setting", ["listen: {tls: {cert: c, key: '${env:PEM}'}}", "policy_file: '${env:PEM}'"])
def test_a_key_that_stands_where_its_file_belongs_is_not_shown(tmp_path, setting, length):
    """The content of a private key in place of its path, short or too long for a name: found, and not repeated."""
    pem = f"-----BEGIN PRIVATE KEY-----\n{WORD * length}\n-----END PRIVATE KEY-----"
    sentences = problems_of(written(tmp_path, setting), {"PEM": pem})

    assert any("which is not a file" in sentence for sentence in sentences)
    assert WORD not in "".join(sentences)


def test_a_part_needs_no_secret_and_no_other_section(tmp_path):
    """Whoever halts the proxy needs neither the venue's key in the environment nor a file without mistakes."""
    file = written(tmp_path, "admin: {bind: 127.0.0.1:9}\nlog: {levle: 1}\n" + custody("${env:UNSET}"))

    assert load_part(file, ("admin", "data_dir"), {}).admin.bind.port == 9
    with pytest.raises(SettingsInvalid):
        load(file, environ={})


@pytest.mark.parametrize(
    ("strategies", "told"),
    [
        ("{a: {prefix: tr}, b: {prefix: tr-x}}", "the prefix 'tr-x' of strategy b begins with 'tr', which is that of"),
        ("{a: {prefix: tr}, b: {prefix: tr}}", "the prefix 'tr' of strategy b begins with 'tr'"),
        ("{a: {prefix: ''}}", "strategies.a.prefix"),
        ("{a: {prefix: 'a b'}}", "strategies.a.prefix"),
        ("{'a b': {}}", "strategies"),
    ],
)
def test_the_strategies_of_a_bot_are_told_apart(tmp_path, strategies, told):
    """No prefix begins another, each is of what client order ids are made of, and names are names."""
    bots = f"{{a: {{key: {'k' * 20}, strategies: {strategies}}}}}"
    text = f'accounts: {{m: {{mode: passthrough, static_equity: "1", bots: {bots}}}}}'
    with pytest.raises(SettingsInvalid) as error:
        load_part(written(tmp_path, text), ("accounts",), {})
    assert told in str(error.value)


def test_a_part_keeps_unresolved_references_apart(tmp_path):
    """Two bots whose keys cannot be read here are not taken for two bots with one key."""
    text = 'accounts: {m: {mode: passthrough, static_equity: "1", bots: {a: {key: "${env:A}"}, b: {key: "${env:B}"}}}}'

    assert set(load_part(written(tmp_path, text), ("accounts",), {}).accounts["m"].bots) == {"a", "b"}


def test_paths_start_at_the_settings_file(tmp_path, monkeypatch):
    """A relative path means the same from whatever folder the proxy is started."""
    (tmp_path / "inner").mkdir()
    file = written(tmp_path / "inner", "data_dir: ../data\n")
    monkeypatch.chdir("/")

    settings = load(file, environ={})
    assert settings.data_dir.resolve() == tmp_path / "data"
    assert settings.admin_token_path.resolve() == tmp_path / "data" / "admin_token"


def test_yaml_scalars_stay_text_and_amounts_exact(tmp_path):
    """NO is a name, not false; and an amount keeps digits that no binary number could hold."""
    text = 'accounts: {NO: {mode: passthrough, static_equity: 1000000000000.1234567}}'
    settings = load(written(tmp_path, text), environ={})

    assert settings.accounts["NO"].static_equity == Decimal("1000000000000.1234567")


def test_toml_means_the_same_as_yaml(tmp_path):
    """The same settings in both languages are equal, amounts included."""
    yaml = written(
        tmp_path, "listen: {connections_max: 5}\naccounts: {m: {mode: passthrough, static_equity: 1.10}}\n"
    )
    toml = written(
        tmp_path,
        '[listen]\nconnections_max = 5\n[accounts.m]\nmode = "passthrough"\nstatic_equity = 1.10\n',
        "riskgate.toml",
    )

    assert load(yaml, environ={}).model_dump() == load(toml, environ={}).model_dump()


@pytest.mark.parametrize(
    ("text", "seconds"), [("250ms", 0.25), ("5s", 5.0), ("1.5s", 1.5), ("2m", 120.0), ("1h", 3600.0), ("1d", 86400.0)]
)
def test_durations_carry_their_unit(text, seconds):
    """Each unit is read as what it says."""
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["5", "5 s", "-5s", "s", "1e3s", "٣s", "", "5S", "5s5s"])
def test_a_duration_without_a_clear_unit_is_refused(text):
    """What could be read two ways is not read."""
    with pytest.raises(ValueError, match="a duration with its unit"):
        parse_duration(text)


@pytest.mark.parametrize("mode", ["tls", "allow_public"])
def test_a_public_admin_address_needs_tls_or_a_clear_word(tmp_path, mode):
    """Either certificate or an explicit key lets the admin API leave the machine."""
    for name in ("cert", "key"):
        (tmp_path / name).write_text("pem")
        (tmp_path / name).chmod(0o600)
    extra = "tls: {cert: cert, key: key}" if mode == "tls" else "allow_public: true"

    assert load(written(tmp_path, f"admin: {{bind: 0.0.0.0:1, {extra}}}"), environ={}).admin.bind.port == 1


def test_a_tls_key_that_others_can_read_is_refused(tmp_path):
    """The listener's private key is a secret like any other."""
    for name in ("cert", "key"):
        (tmp_path / name).write_text("pem")
        (tmp_path / name).chmod(0o644)

    (sentence,) = problems_of(written(tmp_path, "listen: {tls: {cert: cert, key: key}}"))
    assert "listen.tls.key" in sentence


@pytest.mark.parametrize("origin", ["http://127.0.0.1:1", "http://[::1]:1", "http://localhost:1"])
def test_plain_http_is_fine_on_this_machine(origin):
    """A simulator on loopback needs no certificate."""
    assert from_mapping({"upstream": {"api": origin}}, base=Path("/")).upstream.api == origin


def test_the_schema_forbids_unknown_keys_at_every_depth():
    """An editor with the schema marks what the proxy would refuse."""
    found = schema()
    objects = [found, *found["$defs"].values()]

    assert all(one["additionalProperties"] is False for one in objects if "properties" in one)
    assert found["properties"]["listen"]["default"]["bind"] == "127.0.0.1:8080"


def test_fields_reach_every_depth():
    """The list of settings, which the documents are compared with, names nested and repeated sections."""
    assert {"data_dir", "listen.tls.cert", "accounts.NAME.bots.NAME.secret"} <= set(fields())


def test_the_known_exchanges_are_those_with_a_codec():
    """An exchange the settings accept has a codec, and the other way round."""
    assert sorted(one.name for one in EXCHANGES) == sorted(EXCHANGES_KNOWN)


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused_with_a_sentence(text):
    """Whatever stands in the file, the answer is settings-shaped text or SettingsInvalid, nothing else."""
    try:
        found = read_yaml(text, "any.yaml")
    except SettingsInvalid as invalid:
        found = {problem.key: problem.expected for problem in invalid.problems}
    assert isinstance(found, dict)
    assert "" not in found.values()


@pytest.mark.parametrize(
    ("tree", "pushes"),
    [
        ({}, ("wss://fstream.binance.com", "wss://stream.binance.com", "wss://ws-api.binance.com")),
        ({"fapi": "https://demo-fapi.binance.com"}, ("wss://fstream.binancefuture.com", ..., ...)),
        ({"fapi": "http://127.0.0.1:9", "api": "http://127.0.0.1:9"}, (None, None, None)),
        ({"fapi": "http://127.0.0.1:9", "streams": {"fapi": "ws://127.0.0.1:8"}}, ("ws://127.0.0.1:8", ..., ...)),
        ({"api": "https://api2.binance.com", "streams": {"ws_api": "wss://a.example"}}, (..., ..., "wss://a.example")),
    ],
)
def test_where_the_exchange_pushes_is_known_of_its_own_hosts_only(tree, pushes):
    """Set, else known of the host; of a host that nobody knows, nowhere: never somebody else's."""
    found = from_mapping({"upstream": tree}, base=Path()).upstream.pushes
    for name, expected in zip((found.fapi, found.api, found.ws_api), pushes, strict=True):
        assert expected is ... or name == expected


@pytest.mark.parametrize("origin", ["https://fstream.binance.com", "wss://fstream.binance.com/ws", "fstream", "wss://"])
def test_a_stream_origin_is_a_websocket_origin(origin):
    """Another scheme or a path is refused."""
    with pytest.raises(SettingsInvalid, match=r"upstream\.streams\.fapi"):
        from_mapping({"upstream": {"streams": {"fapi": origin}}}, base=Path())


def test_a_plain_stream_to_another_machine_is_refused():
    """Account events would travel in the open, and anybody could make some up."""
    with pytest.raises(SettingsInvalid, match="plain ws"):
        from_mapping({"upstream": {"streams": {"fapi": "ws://fstream.binance.com"}}}, base=Path())
