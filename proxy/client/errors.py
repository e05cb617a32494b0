"""What may be raised, by what a caller should do next."""

from __future__ import annotations


class ClientError(Exception):
    """Base of all; `status` is what the proxy answered, 0 where nothing did."""

    def __init__(self, sentence: str, status: int = 0) -> None:
        super().__init__(sentence)
        self.status = status


class Unavailable(ClientError):
    """Nothing usable answered: take no new risk, and ask again."""


class NotFound(ClientError):
    """There is no such value, account, mode or revision."""


class Overtaken(ClientError):
    """Somebody changed the policy since it was read: read it again and decide again."""


class Refused(ClientError):
    """The proxy understood and said no; asking again will not help. `problems` has a line for each reason."""

    def __init__(self, sentence: str, status: int, problems: tuple[str, ...] = ()) -> None:
        super().__init__(sentence, status)
        self.problems = problems
