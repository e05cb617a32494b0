"""Approvals and overrides as monitoring sees them."""

from prometheus_client import CollectorRegistry, generate_latest

from proxy.permits import Kind, State
from proxy.permits.metrics import PermitMetrics
from tests.proxy.permits.conftest import ANN, open_people

STEPS = ("asked", "granted", "used", "refused", "expired")


def served(metrics):
    """Every sample by its name and labels."""
    registry = CollectorRegistry()
    registry.register(metrics)
    lines = generate_latest(registry).decode().splitlines()
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}


def series(kind, step, account):
    """A sample's name as Prometheus reads it."""
    return f'risk_gate_permits_total{{account="{account}",kind="{kind}",step="{step}"}}'


def test_every_series_is_there_before_anything_happens():
    """With 0, so that the first override is an increase."""
    none = {"asked": {"approval": 0, "override": 0}, "granted": {"approval": 0, "override": 0}}
    found = served(PermitMetrics(["main", "hedge"], lambda: none))

    assert {one.value for one in State} == set(STEPS)
    assert {name: value for name, value in found.items() if "_total" in name} == {
        series(kind.value, step, account): 0.0 for kind in Kind for step in STEPS for account in ("main", "hedge")
    }


async def test_each_step_of_an_approval_is_counted_once(tmp_path):
    """Asked, granted, used and asked again; what is open now stands beside it."""
    async with open_people(tmp_path) as people:
        metrics = PermitMetrics([], people.permits.report)
        people.permits.listeners.append(metrics.note)
        permit_id = await people.waiting()
        account = people.permits.get(permit_id, Kind.APPROVAL).account
        waiting = served(metrics)
        await people.permits.approve(permit_id, ANN, "the client called")
        granted = served(metrics)
        await people.ask(people.large())
        await people.ask(people.large())
        found = served(metrics)

    now = 'risk_gate_permits_open{kind="approval",state="%s"}'
    assert (waiting[now % "asked"], granted[now % "granted"], found[now % "granted"]) == (1.0, 1.0, 0.0)
    assert {step: found[series("approval", step, account)] for step in ("asked", "granted", "used")} == {
        "asked": 2.0, "granted": 1.0, "used": 1.0,
    }  # fmt: skip


async def test_the_first_of_two_words_is_no_second_question(tmp_path):
    """Where an approval takes two persons, it is asked once and granted once."""
    async with open_people(tmp_path, approval_by_two=True) as people:
        metrics = PermitMetrics([], people.permits.report)
        people.permits.listeners.append(metrics.note)
        permit_id = await people.waiting()
        account = people.permits.get(permit_id, Kind.APPROVAL).account
        await people.permits.approve(permit_id, ANN, "the client called")

        assert people.permits.get(permit_id, Kind.APPROVAL).first is not None
        assert served(metrics)[series("approval", "asked", account)] == 1.0
