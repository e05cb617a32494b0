"""What is shipped for watching: alerts and dashboard read metrics that exist, and name sections that say what to do."""

import json
import re
from pathlib import Path

import pytest
import yaml

from tests.test_docs import slugs_of

ROOT = Path(__file__).parents[1]
ALERTS = yaml.safe_load((ROOT / "deploy" / "prometheus" / "alerts.yaml").read_text("utf-8"))
RULES = [rule for group in ALERTS["groups"] for rule in group["rules"]]
DASHBOARD = json.loads((ROOT / "deploy" / "grafana" / "riskgate.json").read_text("utf-8"))
EXPRESSIONS = [rule["expr"] for rule in RULES] + [
    target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]
]
METRIC = re.compile(r"\b(?:riskgate|risk_gate|ess)_[a-z_]+")
SUFFIX = re.compile(r"_(?:total|bucket|sum|count)$")


def served() -> set[str]:
    """Every metric's name in the code, as it is given to the library, and those built from a prefix."""
    found: set[str] = set()
    for name in ("metrics.py", "state_metrics.py", "global_risk/metrics.py", "actions/metrics.py"):
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


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_every_alert_says_how_urgent_it_is_and_where_to_read_on(rule):
    """Whoever is woken needs one sentence and the section that says what to do."""
    page, _, anchor = rule["annotations"]["runbook"].partition("#")

    assert rule["labels"]["severity"] in ("page", "look")
    assert rule["annotations"]["summary"].endswith(".")
    assert anchor in slugs_of(ROOT / page)


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
