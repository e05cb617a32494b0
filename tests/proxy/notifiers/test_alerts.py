"""An alert as a message: bounded, and without what looks like a secret."""

from proxy.notifiers import Alert, AlertClass, Severity
from proxy.notifiers.alerts import DETAIL_MAX, TITLE_MAX, message_of
from tests.proxy.notifiers.conftest import NOW


def test_a_message_is_bounded_and_redacted():
    """Whatever somebody wrote as a reason: no more than fits, and no token in it."""
    alert = Alert(AlertClass.ESS, Severity.CRITICAL, "t" * 1000, "token=canary " + "d" * 5000, NOW)
    message = message_of(alert)

    assert (len(message.title), len(message.text)) == (TITLE_MAX, DETAIL_MAX)
    assert "canary" not in message.text
    assert (message.severity, message.classes, message.at) == (Severity.CRITICAL, (AlertClass.ESS,), NOW)
