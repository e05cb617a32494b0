"""`riskgate store`: where it is, making it on purpose, migrating it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from proxy.cli.main import run
from tests.canary import WORD

MADE_BEFORE = Path(__file__).parents[2] / "data" / "stores" / "policy_v1.sqlite"
POLICY = "active_mode: NORMAL\naccounts: {main: {strategies: any, symbols: [BTCUSDT]}}\n"


@pytest.fixture
def config(tmp_path, monkeypatch):
    """Settings with a policy file and a data folder that is empty."""
    monkeypatch.delenv("RISKGATE_CONFIG", raising=False)
    (tmp_path / "policy.yaml").write_text(POLICY)
    file = tmp_path / "riskgate.yaml"
    file.write_text("policy_file: policy.yaml\n")
    return file


def test_a_store_is_made_on_purpose_once(config, capsys):
    """`create` fills it from the policy file, `status` shows it, and a second `create` is refused."""
    assert run(["store", "status", "--config", str(config)]) == 1
    assert "riskgate store create" in capsys.readouterr().err
    assert run(["store", "create", "--config", str(config)]) == 0
    assert run(["store", "status", "--config", str(config)]) == 0
    said = capsys.readouterr().out
    assert run(["store", "create", "--config", str(config)]) == 2
    assert "never overwritten" in capsys.readouterr().err

    assert "made sqlite, revision 1" in said
    assert "sqlite: revision 1, " in said
    assert "by init: seed" in said


def test_the_old_variables_tighten_a_store_that_is_made(config, capsys, monkeypatch):
    """`create` reads them as the first start does; one that cannot be read makes nothing."""
    monkeypatch.setenv("RM_MAX_LEVERAGE", "lots")
    assert run(["store", "create", "--config", str(config)]) == 2
    assert "RM_MAX_LEVERAGE" in capsys.readouterr().err
    assert not (config.parent / "data" / "policy.sqlite").exists()
    monkeypatch.setenv("RM_MAX_LEVERAGE", "2")
    monkeypatch.setenv("QUANTUM_RISK_MODE", "AGGRESSIVE")
    assert run(["store", "create", "--config", str(config)]) == 0

    assert "AGGRESSIVE_SMALL_ACCOUNT from the environment would loosen" in capsys.readouterr().err


def test_a_file_of_the_first_version_needs_no_migration(config, capsys):
    """It is opened as it is, and `migrate` leaves it as it is."""
    (config.parent / "data").mkdir()
    file = config.parent / "data" / "policy.sqlite"
    shutil.copy(MADE_BEFORE, file)
    assert run(["store", "status", "--config", str(config)]) == 0
    assert "revision 3" in capsys.readouterr().out
    assert run(["store", "migrate", "--config", str(config)]) == 0

    assert "nothing to migrate" in capsys.readouterr().out
    assert [one.name for one in file.parent.iterdir() if "schema" in one.name] == []


@pytest.mark.parametrize(
    ("store", "code", "said"),
    [
        ("{url: memory, allow_memory: true}", 2, "nothing outside the running proxy"),
        ("{url: 'postgresql://risk:hunter2@127.0.0.1:1/none'}", 1, "cannot be used now"),
        ("{url: 'redis://:hunter2@127.0.0.1:1/0'}", 1, "cannot be used now"),
        ("{url: 'mysql://risk:hunter2@h/none'}", 2, "expected sqlite"),
        ("{url: 'postgresql://risk:hunter2@h/none', password: hunter2}", 2, "store.password"),
        ("{password: hunter2}", 2, "sqlite asks for none"),
        ("{poll_interval: 45s}", 2, "at most half of store.age_max"),
        ("{timeout: 61s}", 2, "at most store.age_max"),
    ],
)
def test_what_cannot_be_used_is_said_without_a_password(config, capsys, store, code, said):
    """Settings that cannot be meant, and servers that are not there, end with a sentence."""
    config.write_text(f"policy_file: policy.yaml\nstore: {store}\n".replace("hunter2", WORD))
    config.chmod(0o600)
    assert run(["store", "status", "--config", str(config)]) == code
    told = capsys.readouterr()

    assert said in told.err
    assert WORD not in told.err + told.out


def test_a_password_in_a_file_that_others_can_read_is_refused(config, capsys):
    """A reference to a file of its own is what is expected."""
    for store in ("{url: 'postgresql://risk:hunter2@h/none'}", "{url: 'redis://h/0', password: hunter2}"):
        config.write_text(f"policy_file: policy.yaml\nstore: {store}\n".replace("hunter2", WORD))
        config.chmod(0o644)
        assert run(["store", "status", "--config", str(config)]) == 2
        told = capsys.readouterr()
        assert "a secret in a file with mode 0644" in told.err
        assert WORD not in told.err
