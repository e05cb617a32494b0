"""`riskgate init` leaves a folder that starts, and never touches what is there."""

import stat

from proxy.cli.main import run
from proxy.cli.starter import SETTINGS_TEXT
from proxy.config import fields, load, read_document, read_yaml
from rules.profile import GlobalPolicy, warnings
from tests.canary import marked


def test_what_init_writes_is_valid(folder, capsys):
    """The settings pass `check` as they are, once the venue's key is in the environment."""
    assert run(["check", "--config", str(folder / "riskgate.yaml")]) == 0

    account = load(folder / "riskgate.yaml").accounts["main"]
    assert account.mode == "custody"
    assert len(account.bots["grid1"].secret.get_secret_value().removesuffix(marked(""))) == 64


def test_the_policy_init_writes_is_valid_and_names_the_same_account(folder):
    """The policy is one the store accepts, without warnings, and covers the account and strategy of the settings."""
    policy = GlobalPolicy.model_validate(read_document(folder / "policy.yaml"))

    assert warnings(policy) == []
    settings = load(folder / "riskgate.yaml")
    assert set(policy.accounts) == set(settings.accounts)
    assert policy.accounts["main"].strategies in ("any", {settings.accounts["main"].bots["grid1"].strategy})


def test_secrets_are_readable_by_their_owner_only(folder):
    """Token, bot key, bot secret and the emergency stop have mode 0600 in a folder of mode 0700."""
    files = [folder / "data" / name for name in ("admin_token", "bot_grid1_key", "bot_grid1_secret", "ess")]

    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert stat.S_IMODE((folder / "data").stat().st_mode) == 0o700


def test_a_second_init_changes_nothing(folder, capsys):
    """`init` over an existing folder writes nothing at all and says which files are there."""
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}

    assert run(["init", str(folder)]) == 3
    assert {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()} == before
    assert "nothing was written" in capsys.readouterr().err


def test_one_present_file_keeps_all_others_from_being_written(tmp_path):
    """A half-present folder is not filled up: whose file that is, nobody knows."""
    (tmp_path / "policy.yaml").write_text("mine")

    assert run(["init", str(tmp_path)]) == 3
    assert [file.name for file in tmp_path.iterdir()] == ["policy.yaml"]


def test_two_inits_share_no_secret(tmp_path):
    """Keys and tokens are drawn anew each time."""
    for name in ("a", "b"):
        assert run(["init", str(tmp_path / name)]) == 0
    secrets = [(tmp_path / name / "data" / "bot_grid1_secret").read_text() for name in ("a", "b")]

    assert secrets[0] != secrets[1]


def test_the_comments_name_only_settings_that_exist():
    """Every commented-out key of the template is a real one."""
    uncommented = SETTINGS_TEXT.replace("  # tls", "  tls").replace("  # host_families", "  host_families")
    uncommented = uncommented.replace("# upstream:  ", "upstream:  ").replace("#   api:", "  api:")
    for family in ("fapi", "sapi", "papi", "dapi", "eapi"):
        uncommented = uncommented.replace(f"#   {family}:", f"  {family}:")
    known = set(fields())

    def paths(tree: dict[str, object], prefix: str = "") -> list[str]:
        found = []
        for key, value in tree.items():
            here = f"{prefix}{key}"
            leaf = here in known or not isinstance(value, dict)
            found += [here] if leaf else paths(value, f"{here}.")
        return found

    stated = {path.replace("accounts.main", "accounts.NAME").replace("grid1", "NAME") for path in
              paths(read_yaml(uncommented, "template"))}
    assert "upstream.api" in stated
    assert stated <= known
