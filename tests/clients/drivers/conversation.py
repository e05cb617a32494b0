"""How a driver is spoken to: one JSON line in, one JSON line out, until stdin ends.

A driver runs inside its client's own environment, so it has the standard library and that client,
and nothing of this project. What it is configured with is the text that `riskgate snippet`
prints, executed as a user would paste it.
"""

import json
import re
import sys
import traceback


def configured(text, key, secret, **names):
    """Fill in the key's values as a user would, run the snippet, and return what it left behind."""
    text = re.sub(r"KEY_OF_[\w/]+", key, text)
    text = re.sub(r"SECRET_OF_[\w/]+", secret, text)
    exec(compile(text, "snippet", "exec"), names)
    return names


def converse(deeds):
    """Answer until stdin ends. `deeds` maps a command's `do` to what does it; an exception is an answer too."""
    out, sys.stdout = sys.stdout, sys.stderr  # a client that prints must not be taken for an answer
    for line in sys.stdin:
        command = json.loads(line)
        try:
            answer = {"outcome": "ok", **(deeds[command.pop("do")](**command) or {})}
        except BaseException as error:
            if not isinstance(error, Exception):
                raise
            answer = {
                "outcome": "raised",
                "exception": type(error).__name__,
                "parents": [parent.__name__ for parent in type(error).__mro__],
                "message": str(error),
                "status": _first(error, "status_code"),
                "code": _first(error, "error_code", "code"),
                "where": traceback.format_exc(limit=-3),
            }
        out.write(json.dumps(answer, default=str) + "\n")
        out.flush()


def _first(error, *names):
    found = [getattr(error, name) for name in names if getattr(error, name, None) is not None]
    return found[0] if found else None


def risk_headers(headers):
    """What the proxy said about its decision, names in lower case."""
    return {name.lower(): value for name, value in headers.items() if name.lower().startswith("x-risk-")}
