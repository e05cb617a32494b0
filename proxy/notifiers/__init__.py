"""Telling people: what happened, by which way, and what they may do about it from there."""

from proxy.notifiers.alerts import Alert, AlertClass, Message, Notifier, NotifyFailed, Severity
from proxy.notifiers.apprise_urls import Apprise
from proxy.notifiers.log_lines import LogLines
from proxy.notifiers.notifying import Notifying
from proxy.notifiers.telegram import Api, Commands, Telegram
from proxy.notifiers.telling import Telling
from proxy.notifiers.watch import Watch
from proxy.notifiers.webhook import AnchorWebhook, Webhook

__all__ = [
    "Alert", "AlertClass", "Message", "Notifier", "NotifyFailed", "Severity",
    "AnchorWebhook", "Api", "Apprise", "Commands", "LogLines", "Notifying", "Telegram", "Telling", "Watch", "Webhook",
]  # fmt: skip
