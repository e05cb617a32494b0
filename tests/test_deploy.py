"""What is shipped for running and watching: alerts, their runbooks, the dashboard, and files for service managers."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import kubernetes_validate
import pytest
import typer.main
import yaml
from prometheus_client.parser import text_string_to_metric_families

from proxy.cli.main import app
from proxy.config import Settings
from tests.runs import open_run
from tests.test_docs import slugs_of

ROOT = Path(__file__).parents[1]
ALERTS = yaml.safe_load((ROOT / "deploy" / "prometheus" / "alerts.yaml").read_text("utf-8"))
RULES = [rule for group in ALERTS["groups"] for rule in group["rules"]]
DASHBOARD = json.loads((ROOT / "deploy" / "grafana" / "riskgate.json").read_text("utf-8"))
RUNBOOK_PAGE = (ROOT / "docs" / "runbooks.md").read_text("utf-8")
RUNBOOKS = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", RUNBOOK_PAGE, re.MULTILINE | re.DOTALL))
PARTS = ["Means", "Look at", "Do", "Over when"]
EXPRESSIONS = [rule["expr"] for rule in RULES] + [
    target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]
]
METRIC = re.compile(r"\b(?:riskgate|risk_gate|ess)_[a-z_]+")
SUFFIX = re.compile(r"_(?:total|bucket|sum|count)$")


def served() -> set[str]:
    """Every metric's name in the code, as it is given to the library, and those built from a prefix."""
    found: set[str] = set()
    places = ("metrics.py", "state_metrics.py", "global_risk/metrics.py", "actions/metrics.py", "permits/metrics.py",
              "triggers/engine.py")  # fmt: skip
    for name in places:
        text = (ROOT / "proxy" / name).read_text("utf-8")
        found |= set(re.findall(r'"((?:riskgate|risk_gate|ess)_[a-z_]+)"', text))
        if "riskgate_global_risk_{name}" in text:
            found |= {f"riskgate_global_risk_{name}" for name in re.findall(r'_gauge\("([a-z_]+)"', text)}
    return found


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_every_expression_reads_metrics_that_are_served(expression):
    """An alert on a metric that does not exist never fires, and nobody notices."""
    named = {SUFFIX.sub("", name) for name in METRIC.findall(expression)}
    labels = {"riskgate"} | set(re.findall(r'job="([a-z]+)"', expression))

    assert named - labels - served() == set()
    assert named or "up{" in expression
    assert expression.count("(") == expression.count(")")


SELECTED = re.compile(r"\b((?:riskgate|risk_gate|ess)_[a-z_0-9]+)(?:\{([^}]*)\})?")


async def test_a_running_proxy_serves_every_series_that_is_asked_for(tmp_path):
    """Names and labels as they stand in an expression: one that is misspelt selects nothing, for ever."""
    async with open_run(tmp_path) as run:
        assert (await run.bot().order()).status == 200
        text = (await run.admin.call("GET", "/metrics")).body.decode()
    labels, families = {}, set()
    for family in text_string_to_metric_families(text):
        families |= {family.name, f"{family.name}_total"}
        for sample in family.samples:
            families.add(sample.name)
            labels.setdefault(sample.name, set()).update(sample.labels)

    wrong = []
    for expression in EXPRESSIONS:
        for name, braces in SELECTED.findall(expression):
            asked = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", braces))
            if name not in families or (name in labels and asked - labels[name]):
                wrong.append(f"{name}{{{braces}}} in {expression}")
    assert wrong == []
    assert {"risk_gate_permits_total", "risk_gate_actions", "risk_gate_decisions_total"} <= families


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_every_alert_says_how_urgent_it_is_and_where_to_read_on(rule):
    """Whoever is woken needs one sentence and the runbook of this very alert."""
    page, _, anchor = rule["annotations"]["runbook"].partition("#")

    assert rule["labels"]["severity"] in ("page", "look")
    assert rule["annotations"]["summary"].endswith(".")
    assert (page, anchor) == ("docs/runbooks.md", rule["alert"].lower())
    assert anchor in slugs_of(ROOT / page)


def test_there_is_a_runbook_for_each_alert_and_no_other():
    """In the order of the rules, so that both are read side by side."""
    assert list(RUNBOOKS) == [rule["alert"] for rule in RULES]


@pytest.mark.parametrize("name", RUNBOOKS)
def test_every_runbook_says_what_it_means_what_to_do_and_when_it_is_over(name):
    """Four parts in this order, each with something in it."""
    found = re.findall(r"^\*\*([\w ]+)\.\*\* (.*)$", RUNBOOKS[name], re.MULTILINE)

    assert [part for part, _ in found] == PARTS
    assert all(len(text) > 10 for part, text in found)


def test_runbooks_name_commands_and_metrics_that_exist():
    """Nobody has to find out at night that a command has another name."""
    known = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    named = {words.partition(" ")[::2] for words in re.findall(r"`riskgate ([a-z][a-z-]*(?: [a-z]+)?)", RUNBOOK_PAGE)}
    unknown = {
        f"{name} {below}" for name, below in named
        if name not in known or (hasattr(known[name], "commands") and below not in known[name].commands)
    }  # fmt: skip
    metrics = {SUFFIX.sub("", name) for name in re.findall(r"`((?:riskgate|risk_gate|ess)_[a-z_]+)`", RUNBOOK_PAGE)}

    assert unknown == set()
    assert metrics - served() == set()


def test_alerts_have_names_of_their_own():
    """Two alerts of one name hide each other."""
    names = [rule["alert"] for rule in RULES]

    assert len(set(names)) == len(names)


def test_the_dashboards_panels_do_not_lie_on_each_other():
    """Each panel has its place on the grid of 24 columns."""
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells


def test_the_observers_of_the_compose_file_share_the_proxys_network():
    """So the admin listener can stay on loopback, and every mounted file is there."""
    compose = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text("utf-8"))
    observers = {name: one for name, one in compose["services"].items() if name != "riskgate"}

    assert set(observers) == {"prometheus", "grafana"}
    for observer in observers.values():
        assert (observer["profiles"], observer["network_mode"]) == (["watch"], "service:riskgate")
        for volume in observer["volumes"]:
            source = volume.partition(":")[0]
            assert not source.startswith(".") or (ROOT / "deploy" / source).exists(), source
    assert all(port.startswith("127.0.0.1:") for port in compose["services"]["riskgate"]["ports"])


SYSTEMD = shutil.which("systemd-analyze")
UNIT = ROOT / "deploy" / "riskgate.service"


@pytest.fixture
def unit(tmp_path):
    """The unit with a command that exists here."""
    text = UNIT.read_text("utf-8")
    text, count = re.subn(r"^ExecStart=\S+", f"ExecStart={shutil.which('true')}", text, flags=re.MULTILINE)
    assert count == 1
    (tmp_path / UNIT.name).write_text(text)
    return tmp_path / UNIT.name


@pytest.mark.skipif(SYSTEMD is None, reason="systemd-analyze is not on this machine")
def test_systemd_takes_the_unit_as_it_is(unit):
    """No unknown key, no wrong value: a line that systemd ignores protects nobody."""
    found = subprocess.run([SYSTEMD, "verify", str(unit)], capture_output=True, text=True, timeout=60, check=False)

    assert (found.returncode, found.stdout + found.stderr) == (0, "")


@pytest.mark.skipif(SYSTEMD is None, reason="systemd-analyze is not on this machine")
def test_the_unit_gives_the_process_little(unit):
    """At most 2.0 of 10 by systemd's own measure: it needs its port, its folder and the network."""
    asked = [SYSTEMD, "security", "--offline=true", "--threshold=20", str(unit)]
    found = subprocess.run(asked, capture_output=True, text=True, timeout=60, check=False)

    assert found.returncode == 0, found.stdout[-300:]


def test_every_manager_waits_longer_than_the_drain():
    """Delay, drain and two seconds to close: who is killed in between leaves orders of unknown fate."""
    listen = Settings().listen
    least_s = listen.drain_delay + listen.drain_timeout + 2
    compose = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text("utf-8"))
    pod = next(yaml.safe_load_all((ROOT / "deploy" / "kubernetes" / "pod.yaml").read_text("utf-8")))
    stated = {
        "systemd": re.search(r"^TimeoutStopSec=(\d+)$", UNIT.read_text("utf-8"), re.MULTILINE)[1],
        "compose": compose["services"]["riskgate"]["stop_grace_period"].removesuffix("s"),
        "kubernetes": pod["spec"]["terminationGracePeriodSeconds"],
    }

    assert {name for name, seconds in stated.items() if int(seconds) < least_s} == set()


@pytest.mark.parametrize("version", ["1.29", kubernetes_validate.latest_version()])
def test_kubernetes_takes_the_manifest(version):
    """By the schema of the oldest version that has native sidecars, and of the newest known; no unknown field."""
    documents = list(yaml.safe_load_all((ROOT / "deploy" / "kubernetes" / "pod.yaml").read_text("utf-8")))

    assert [document["kind"] for document in documents] == ["Pod", "PersistentVolumeClaim", "NetworkPolicy"]
    for document in documents:
        kubernetes_validate.validate(document, version, strict=True)
