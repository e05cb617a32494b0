"""`riskgate check` says everything that is wrong, or what the settings amount to."""

import json

from proxy.cli.checking import find_config
from proxy.cli.main import run


def test_check_tells_every_problem_and_exits_2(tmp_path, capsys):
    """Problems go to stdout, one a line, with a count."""
    (tmp_path / "riskgate.yaml").write_text("listen: {prot: 1}\nlog: {level: loud}\n")

    assert run(["check", "--config", str(tmp_path / "riskgate.yaml")]) == 2
    out = capsys.readouterr().out
    assert "listen.prot" in out
    assert "2 problem(s)" in out


def test_check_as_json_names_source_key_found_and_expected(tmp_path, capsys):
    """A program reads the four parts of each problem apart."""
    (tmp_path / "riskgate.yaml").write_text("listen: {prot: 1}")

    assert run(["check", "--json", "--config", str(tmp_path / "riskgate.yaml")]) == 2
    (problem,) = json.loads(capsys.readouterr().out)["problems"]
    assert set(problem) == {"source", "key", "found", "expected"}
    assert problem["key"] == "listen.prot"


def test_check_of_good_settings_shows_no_secret(folder, capsys):
    """The summary and the JSON of good settings contain no key and no secret."""
    config = ["--config", str(folder / "riskgate.yaml")]

    assert run(["check", *config]) == 0
    assert run(["check", "--json", *config]) == 0
    out = capsys.readouterr().out
    assert "account main: binance, custody, grid1" in out
    assert "venue-secret" not in out
    assert (folder / "data" / "bot_grid1_secret").read_text().strip() not in out


def test_check_reads_the_policy_too(folder, capsys):
    """A policy that the store would refuse is found by `check`, not by the first start."""
    (folder / "policy.yaml").write_text("active_mode: NORMALL\n")

    assert run(["check", "--config", str(folder / "riskgate.yaml")]) == 2
    assert "policy.yaml:1: active_mode: found 'NORMALL'; expected one of" in capsys.readouterr().out


def test_check_finds_an_account_without_limits(folder, capsys):
    """An account that the policy does not name would have every order blocked; `check` says so."""
    (folder / "policy.yaml").write_text("active_mode: NORMAL\nrisk_source: {kind: none}\n")

    assert run(["check", "--config", str(folder / "riskgate.yaml")]) == 0
    assert "account main is not in the policy" in capsys.readouterr().out


def test_check_finds_a_signal_that_is_required_and_not_there(folder, capsys):
    """A policy that requires the risk signal beside settings without one would block all new exposure."""
    settings = (folder / "riskgate.yaml").read_text()
    assert "source: embedded" in settings
    assert "kind: required" in (folder / "policy.yaml").read_text()
    assert run(["check", "--config", str(folder / "riskgate.yaml")]) == 0
    assert "global risk signal: embedded" in (said := capsys.readouterr().out)
    assert "requires a global risk signal" not in said
    (folder / "riskgate.yaml").write_text(settings.replace("source: embedded", "source: none"))

    assert run(["check", "--config", str(folder / "riskgate.yaml")]) == 0
    assert "requires a global risk signal" in capsys.readouterr().out


def test_check_finds_a_signal_that_is_read_too_seldom(folder, capsys):
    """A signal read every four seconds and believed for five is often too old; half of its age is the most."""
    settings = (folder / "riskgate.yaml").read_text()
    for interval, told in (("4s", True), ("2500ms", False)):
        (folder / "riskgate.yaml").write_text(
            settings.replace("source: embedded", f"source: embedded\n  interval: {interval}")
        )
        assert run(["check", "--config", str(folder / "riskgate.yaml")]) == 0
        assert ("global_risk.interval" in capsys.readouterr().out) is told


def test_the_settings_file_is_option_then_variable_then_usual_name(tmp_path, monkeypatch):
    """--config beats RISKGATE_CONFIG, which beats riskgate.yaml in the working folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "riskgate.yaml").touch()
    assert find_config(None).name == "riskgate.yaml"

    monkeypatch.setenv("RISKGATE_CONFIG", "named.yaml")
    assert find_config(None).name == "named.yaml"
    assert find_config(tmp_path / "given.yaml").name == "given.yaml"
