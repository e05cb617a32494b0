"""Documents and code agree: what can be set, said, called or read stands in its page, and nothing else does."""

import json
import re
import shlex
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer
from prometheus_client import CollectorRegistry

from proxy.admin import build_admin
from proxy.admin.actions import CancelAllBody, DrillBody, FlattenBody
from proxy.admin.bodies import (
    AliasBody,
    BotEngageBody,
    DraftBody,
    EngageBody,
    ModeBody,
    PatchBody,
    PolicyBody,
    PresetBody,
    PublishBody,
    ReleaseBody,
    ReloadBody,
    RollbackBody,
    SettleBody,
    TokenBody,
    V1PatchBody,
    WhoBody,
)
from proxy.admin.permits import OverrideBody, PermitBody
from proxy.cli.main import app
from proxy.cli.snippets import SNIPPETS
from proxy.clock import SystemClock
from proxy.config import Settings, fields
from proxy.policy_file import read_policy_file
from rules import EssLevel, Reason
from rules.profile import AgesPolicy, warnings

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(DOCS.rglob("*.md"))]
METRICS = (
    "proxy/metrics.py", "proxy/state_metrics.py", "proxy/actions/metrics.py", "proxy/permits/metrics.py",
    "proxy/telemetry/spans.py",
)  # fmt: skip
SOURCES = sorted(file for folder in ("rules", "proxy") for file in (ROOT / folder).rglob("*.py"))


def text_of(name: str) -> str:
    """A page's text, or a skip while another hand is still writing it."""
    file = ROOT / name
    if not file.exists():
        pytest.fail(f"{name} does not exist")
    return file.read_text("utf-8")


def commands() -> dict[str, set[str]]:
    """Every command of the command line with its options, groups spelt out: "decisions tail"."""
    found: dict[str, set[str]] = {}

    def walk(group: object, prefix: str) -> None:
        for name, command in group.commands.items():  # type: ignore[attr-defined]
            if hasattr(command, "commands"):
                walk(command, f"{prefix}{name} ")
            else:
                found[f"{prefix}{name}"] = {option for one in command.params for option in one.opts}

    walk(typer.main.get_command(app), "")
    return found


def test_every_setting_stands_in_its_page_and_no_other():
    """docs/configuration.md has a row for every setting; a row for a setting that is gone is wrong too."""
    page = text_of("docs/configuration.md")
    documented = set(re.findall(r"`((?:[a-z_]+\.)*[a-z_]+(?:\.NAME(?:\.[a-z_]+)+)*)`", page, re.IGNORECASE))
    rows = {name for line in page.splitlines() if line.startswith("| `") for name in re.findall(r"`([^`]+)`",
            line.split("|")[1])}

    assert sorted(set(fields()) - documented) == []
    assert sorted(rows - set(fields())) == []


def test_every_default_is_the_one_in_the_code():
    """The default a row states is what the settings have when nothing is said."""
    defaults = Settings().model_dump(mode="json")
    wrong = []
    for line in text_of("docs/configuration.md").splitlines():
        row = re.match(r"\| `([a-z_.]+)` \| `([^`]+)` \|", line)
        if row and not row[1].startswith("accounts"):
            value: object = defaults
            for part in row[1].split("."):
                value = value[part]  # type: ignore[index]
            stated = json.loads(row[2]) if row[2] in ("true", "false") else row[2]
            if str(value) != str(stated):
                wrong.append(f"{row[1]}: documented {row[2]}, is {value}")

    assert wrong == []


def admin_sections() -> dict[str, str]:
    """Every route the admin API's page has a heading for, with the text under it."""
    page = text_of("docs/admin-api.md")
    parts = re.split(r"^### `([A-Z]+ /[^`]*)`$", page, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_every_route_of_the_admin_api_stands_in_its_page_and_no_other():
    """Method and path of each route of the built listener; a heading for a route that is gone is wrong too."""
    audit = SimpleNamespace(directory=ROOT)
    parts = SimpleNamespace(
        clock=SystemClock(), hosts=(), registry=CollectorRegistry(), ess=None, audit=audit, accounts=(),
        release_by_two=True, drafts_dir=None, access=None, releases=None, permits=None,
    )
    routes = {
        f"{route.method} {route.resource.canonical}"
        for route in build_admin(parts, token=b"x").router.routes()
        if route.method != "HEAD" and not route.resource.canonical.startswith("/ui")  # pages for people
    }

    assert len(routes) > 10
    assert sorted(routes) == sorted(admin_sections())


@pytest.mark.parametrize(
    ("route", "body"),
    [
        ("POST /admin/v1/ess/engage", EngageBody),
        ("POST /admin/v1/ess/release", ReleaseBody),
        ("POST /bot/v1/ess/engage", BotEngageBody),
        ("POST /admin/v1/actions/cancel-all", CancelAllBody),
        ("POST /admin/v1/actions/flatten", FlattenBody),
        ("POST /admin/v1/actions/drill", DrillBody),
        ("PUT /api/v2/policy", PolicyBody),
        ("POST /admin/v1/reload", ReloadBody),
        ("POST /api/v2/policy/risk-mode", ModeBody),
        ("PATCH /api/v2/policy", PatchBody),
        ("POST /api/v2/policy/reset", WhoBody),
        ("POST /api/v2/policy/rollback", RollbackBody),
        ("POST /api/v2/policy/presets", PresetBody),
        ("POST /api/v2/policy/drafts", DraftBody),
        ("POST /api/v2/policy/drafts/{id}/publish", PublishBody),
        ("PATCH /api/policy", V1PatchBody),
        ("POST /api/policy/reset", AliasBody),
        ("POST /api/policy/risk_mode/{mode}", AliasBody),
        ("POST /admin/v1/accounts/{name}/settle", SettleBody),
        ("POST /admin/v1/tokens", TokenBody),
        ("POST /admin/v1/approvals/{id}/approve", PermitBody),
        ("POST /admin/v1/approvals/{id}/refuse", PermitBody),
        ("POST /admin/v1/overrides", OverrideBody),
        ("POST /admin/v1/overrides/{id}/confirm", PermitBody),
        ("POST /admin/v1/overrides/{id}/refuse", PermitBody),
    ],
)
def test_every_field_of_an_admin_body_stands_under_its_route(route, body):
    """Tables name exactly the fields; the older alias names them in its sentence."""
    section = admin_sections()[route]
    rows = set(re.findall(r"^\| `([a-z_]+)` \|", section, re.MULTILINE))

    assert rows in ({*body.model_fields}, set())
    assert [name for name in body.model_fields if f"`{name}`" not in section] == []


def test_every_reason_is_explained():
    """A rule's reasons stand in docs/rules.md, those given before or after the rulebook in the runbook."""
    page = text_of("docs/rules.md") + text_of("docs/operations.md")

    assert [reason.value for reason in Reason if f"`{reason.value}`" not in page] == []


def test_reasons_named_in_the_runbook_exist():
    """The runbook's table of reasons names codes that the code gives."""
    table = text_of("docs/operations.md").partition("| reason |")[2].partition("\n\n")[0]
    named = set(re.findall(r"`([a-z_]+_[a-z_]+)`", "".join(line.split("|")[1] for line in table.splitlines()[2:])))

    assert named
    assert named <= {reason.value for reason in Reason}


def test_metrics_named_in_the_runbook_exist():
    """An alert on a metric that is not served never fires."""
    page = text_of("docs/operations.md")
    named = {name.removesuffix("_total") for name in re.findall(r"`((?:riskgate|risk_gate)_[a-z_]+)[`{]", page)}
    served = {name for file in METRICS for name in re.findall(r'"((?:riskgate|risk_gate)_[a-z_]+)"', text_of(file))}

    assert named
    assert sorted(named - served) == []


def test_every_metric_is_documented():
    """Every metric served stands in the runbook or among the rules' documents."""
    served = {name for file in METRICS for name in re.findall(r'"((?:riskgate|risk_gate)_[a-z_]+)"', text_of(file))}
    pages = "".join(page.read_text("utf-8") for page in PAGES)

    assert sorted(name for name in served if name not in pages) == []


def test_the_stop_has_the_levels_the_documents_name():
    """The runbook and the glossary speak of the levels there are."""
    assert {level.name for level in EssLevel} == {"CLEAR", "REDUCE_ONLY", "HALT"}
    assert all(level.name in text_of("docs/glossary.md") for level in EssLevel)


def riskgate_lines() -> list[tuple[str, str]]:
    """Every `riskgate ...` in a console block, or alone in a code span, with its page."""
    found = []
    for page in PAGES:
        text = page.read_text("utf-8")
        for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL):
            found += [(page.name, line) for line in re.findall(r"^\$? ?(riskgate .*)$", block, re.MULTILINE)]
        found += [(page.name, line) for line in re.findall(r"`(riskgate [a-z][^`]*)`", text)]
    return found


def test_every_command_in_the_documents_exists():
    """Each documented command line names a command that exists, with options it has."""
    known = commands()
    wrong = []
    for page, line in riskgate_lines():
        words = [word for word in shlex.split(line.split("  #")[0].replace("...", "X")) if word != "riskgate"]
        name = next((" ".join(words[:count]) for count in (2, 1) if " ".join(words[:count]) in known), None)
        options = {word for word in words if word.startswith("--")}
        if name is None and words[0] not in {command.split()[0] for command in known}:
            wrong.append(f"{page}: {line}")
        if name is not None and not options <= known[name]:
            wrong.append(f"{page}: {line}: unknown options {sorted(options - known[name])}")

    assert len(riskgate_lines()) > 10
    assert wrong == []


def test_every_make_target_in_the_documents_exists():
    """Each `make target` a page speaks of is in the Makefile."""
    targets = set(re.findall(r"^([a-z-]+)::?", text_of("Makefile"), re.MULTILINE))
    named = {
        target
        for page in PAGES
        for target in re.findall(r"(?:^\$ |`)make ([a-z][a-z-]*)", page.read_text("utf-8"), re.MULTILINE)
    }

    assert {"demo", "test"} <= named
    assert named <= targets


def test_the_readme_names_every_client_with_a_snippet():
    """Whoever has a client we know finds it on the first screen."""
    page = text_of("README.md")

    assert [client for client in SNIPPETS if client not in page] == []


def test_modules_named_in_the_documents_exist():
    """A path like `proxy/x.py` in a page is one that is there; the changelog and old decisions may name the gone."""
    wrong = []
    for page in PAGES:
        if page.parent.name == "adr" or page.name == "CHANGELOG.md":
            continue
        for name in re.findall(r"`((?:rules|proxy|tests|docs|deploy|bench)/[\w./-]+)`", page.read_text("utf-8")):
            if not (ROOT / name).exists():
                wrong.append(f"{page.name}: {name}")

    assert wrong == []


def test_nouns_of_the_architecture_exist():
    """Every source file the map names is there."""
    named = set(re.findall(r"`((?:rules|proxy)/[a-z_/]+\.py)`", text_of("docs/architecture.md")))

    assert named
    assert sorted(name for name in named if not (ROOT / name).exists()) == []


def test_links_between_documents_lead_somewhere():
    """A relative link points at a file, and at a heading of it where it names one."""
    wrong = []
    for page in PAGES:
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
            if re.match(r"[a-z]+:", target):
                continue
            name, _, heading = target.partition("#")
            file = (page.parent / name) if name else page
            if not file.exists():
                wrong.append(f"{page.name}: {target}")
            elif heading and heading not in slugs_of(file):
                wrong.append(f"{page.name}: no heading {target}")

    assert wrong == []


def slugs_of(file: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", file.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_page_begins_with_its_title():
    """One title, first, as people and tools expect."""
    assert [page.name for page in PAGES if not page.read_text("utf-8").startswith("# ")] == []


def test_the_changelog_keeps_its_form():
    """Unreleased first; known sections; every entry ends as a sentence does."""
    page = text_of("CHANGELOG.md")
    sections = re.findall(r"^### (.*)$", page, re.MULTILINE)

    assert re.findall(r"^## (.*)$", page, re.MULTILINE)[0].startswith("[Unreleased]")
    assert set(sections) <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert [line for line in re.findall(r"^- (.*)$", page, re.MULTILINE) if not line.endswith(".")] == []


def test_no_document_names_a_place_that_is_not_in_the_repository():
    """Pages and sources stand on their own: no path of somebody's machine."""
    foreign = re.compile(r"/(?:work|home|root|Users)/[A-Za-z]")
    wrong = [file.name for file in (*PAGES, *SOURCES, ROOT / "Makefile", ROOT / "Dockerfile")
             if foreign.search(file.read_text("utf-8"))]

    assert wrong == []


def test_the_example_policy_is_one(tmp_path):
    """The whole policy in the page can be used as it stands, and sets nothing that is probably not meant."""
    (block,) = re.findall(r"```yaml\n(active_mode.*?)```", text_of("docs/policies.md"), re.DOTALL)
    (tmp_path / "policy.yaml").write_text(block)

    policy = read_policy_file(tmp_path / "policy.yaml")
    assert set(policy.accounts) == {"main"}
    assert warnings(policy) == []


def test_the_ages_in_the_page_are_the_defaults():
    """Every age stands in the page with the default that the code has."""
    rows = dict(re.findall(r"^\| `([a-z_]+_s)` \| (\d+) \|", text_of("docs/policies.md"), re.MULTILINE))

    assert rows == {name: str(field.default) for name, field in AgesPolicy.model_fields.items()}


def test_what_halt_says_stands_in_the_runbook():
    """Whoever reads the last line of `halt` finds it in the table, word for word."""
    page, code = text_of("docs/operations.md"), text_of("proxy/cli/stopping.py")

    for said in ("HALTED: the proxy at", "NOT HALTED: a proxy answers at", "NOT HALTED: nothing answers at",
                 "not confirmed: nothing answers at"):
        assert f"`{said} ..." in page
        assert said in code
