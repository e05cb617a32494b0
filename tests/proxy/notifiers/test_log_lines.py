"""Alerts in the log."""

from structlog.testing import capture_logs

from proxy.notifiers import AlertClass, LogLines, Message, Severity
from tests.proxy.notifiers.conftest import NOW


async def test_each_message_is_one_line_of_its_severity():
    """INFO as info, WARNING as warning, what cannot wait as error, with title, text and classes."""
    with capture_logs() as lines:
        for severity in Severity:
            await LogLines().send(Message(severity, "t", "x", NOW, (AlertClass.ESS,)))

    assert [line["log_level"] for line in lines] == ["info", "warning", "error"]
    assert {line["event"] for line in lines} == {"alert.told"}
    assert (lines[0]["title"], lines[0]["text"], lines[0]["classes"]) == ("t", "x", ["ess"])
