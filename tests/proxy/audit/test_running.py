"""A running proxy with two folders and anchors: what it tells, what passes when one fails, what stops a start."""

import asyncio
import shutil

import pytest

from proxy.app import App
from proxy.audit import AnchorFolder, read_anchors, verify
from proxy.config import SettingsInvalid, from_mapping
from proxy.errors import AuditError
from proxy.notifiers import Telling
from tests.canary import marked
from tests.proxy.audit.test_second_folder import Broken
from tests.runs import open_run


def stated(folder, **more):
    """Settings of the record."""
    anchor = {"interval": "1s", "dir": str(folder / "anchors"), "secret": marked("signs-the-anchors")}
    return {"audit": {"sync": "power", "second_dir": str(folder / "second"), "anchor": anchor} | more}


async def metrics_of(run):
    """The samples of the record."""
    text = (await run.admin.call("GET", "/metrics")).body.decode()
    return dict(line.rsplit(" ", 1) for line in text.splitlines() if line.startswith("riskgate_audit"))


@pytest.mark.parametrize("failing", ["audit", "second"])
async def test_orders_go_on_with_one_folder_and_people_are_told(tmp_path, monkeypatch, failing):
    """The metric and /readyz name the folder, an alert goes out, the proxy stays ready; with none nothing is sent."""
    name = "first" if failing == "audit" else "second"
    async with open_run(tmp_path / "run", more=stated(tmp_path)) as run:
        bot = run.bot()
        assert (await bot.order()).status == 200
        folders = {"audit": tmp_path / "run" / "data" / "audit", "second": tmp_path / "second"}
        told = []
        monkeypatch.setattr(Telling, "tell", lambda _, *alert: told.append(alert))
        disk = Broken(monkeypatch, folders[failing])
        for _ in range(5):
            assert (await bot.order()).status == 200
        await run.until(lambda: run.app.audit.folders[name], "the folder failed")
        found = await metrics_of(run)
        assert found[f'riskgate_audit_folder_healthy{{folder="{name}"}}'] == "0.0"
        assert found["riskgate_audit_healthy"] == "1.0"
        status, because = (reply := await run.admin.call("GET", "/readyz")).status, reply.json
        assert (status, bool(because["parts"]["audit"]["folders"][name])) == (200, True)
        await run.until(lambda: any(f"{name} folder is failing" in str(alert) for alert in told), "an alert")

        arrived = sum(one.is_order for one in run.sim.received)
        other = Broken(monkeypatch, folders["second" if failing == "audit" else "audit"])
        refused = [await bot.order() for _ in range(3)]
        assert refused[-1].json["risk"]["reason"] == "audit_unavailable"
        assert [answer.status for answer in refused] == [403, 403, 403]
        assert arrived == sum(one.is_order for one in run.sim.received)
        disk.is_broken = other.is_broken = False
        await run.until(lambda: not any(run.app.audit.folders.values()), "both are well again")
        assert (await bot.order()).status == 200
        assert (await bot.cancel(f"{bot.name}-1")).status == 200

    assert verify(folders["audit"]) == verify(folders["second"])
    assert verify(folders["audit"]).ok


async def test_anchors_are_left_while_it_runs_and_hold_at_the_next_start(tmp_path):
    """A record that was made anew does not start; the one that was written does."""
    folder = tmp_path / "run"
    async with open_run(folder, more=stated(tmp_path)) as run:
        await run.bot().order()
        await run.until(lambda: (tmp_path / "anchors").exists(), "an anchor")
        await asyncio.sleep(1.2)
        ages = await metrics_of(run)
        assert float(ages['riskgate_audit_anchor_age_seconds{place="folder"}']) < 5
        assert float(ages['riskgate_audit_anchor_age_seconds{place="log"}']) < 5
        settings = run.app.settings
    anchors = read_anchors(tmp_path / "anchors", secret=marked("signs-the-anchors").encode())
    assert verify(settings.audit_dir, anchors=anchors).ok

    again = App.from_settings(settings)
    again.audit.open()
    again.audit.close()
    for place in (settings.audit_dir, tmp_path / "second"):
        shutil.rmtree(place)
    forged = App.from_settings(settings)
    forged.audit.open()
    for number in range(50):
        forged.audit.append({"kind": "decision", "decision_id": str(number)})
    forged.audit.close()
    with pytest.raises(AuditError, match="rewritten"):
        await App.from_settings(settings).start()


async def test_settings_that_would_defeat_their_purpose_are_refused(tmp_path):
    """Beside the record, too short, or unsigned for nothing: each is said with what was expected."""
    for audit, key in (
        ({"second_dir": "data/second"}, "audit.second_dir"),
        ({"anchor": {"dir": "data/anchors"}}, "audit.anchor.dir"),
        ({"second_dir": "b", "anchor": {"dir": "b/anchors"}}, "audit.anchor.dir"),
        ({"anchor": {"secret": "x"}}, "audit.anchor.secret"),
        ({"anchor": {"interval": "2h"}}, "audit.anchor.interval"),
        ({"keep": "7d"}, "audit.keep"),
        ({"anchor": {"webhook": {"url": "http://elsewhere.example/hook"}}}, "audit.anchor.webhook.url"),
    ):
        with pytest.raises(SettingsInvalid) as refused:
            from_mapping({"audit": audit}, base=tmp_path)
        assert [problem.key for problem in refused.value.problems] == [key]
    fine = from_mapping({"audit": {"second_dir": "b", "keep": "400d", "anchor": {"dir": "c"}}}, base=tmp_path)
    assert (fine.audit.second_dir, fine.audit.anchor.dir) == (tmp_path / "b", tmp_path / "c")


def test_a_folder_of_anchors_may_be_empty(tmp_path):
    """Before the first minute there is none."""
    assert AnchorFolder(tmp_path / "none").newest() is None
