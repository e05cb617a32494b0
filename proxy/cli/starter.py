"""`riskgate init`: the files a first run needs, written once and never over anything."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from proxy.cli.output import CommandFailed, Exit

SETTINGS_NAME = "riskgate.yaml"
POLICY_NAME = "policy.yaml"
DATA_NAME = "data"
ESS_NAME = "ess"
BOT_KEY_NAME = "bot_grid1_key"
BOT_SECRET_NAME = "bot_grid1_secret"  # noqa: S105 - a file name

SETTINGS_TEXT = """\
# riskgate settings. A flag beats RISKGATE_SECTION__KEY, which beats this file, which beats the default.
# An unknown key, an unset reference or a secret that others can read stops the start.
# `riskgate check` explains every error; docs/configuration.md describes every key.

listen:
  bind: 127.0.0.1:8080          # where bots connect
  # tls: {cert: gate.pem, key: gate.key}
  # host_families: {api.gate.example: /api, fapi.gate.example: /fapi}

admin:
  bind: 127.0.0.1:8099          # status, metrics and the emergency stop

data_dir: ./data                # audit record, emergency stop, policies, admin token
policy_file: policy.yaml        # fills a new store only; later: riskgate policy apply policy.yaml --reason ...

# upstream:                     # default: Binance itself. The testnet has spot and USD-M futures:
#   api: https://testnet.binance.vision
#   fapi: https://testnet.binancefuture.com
#   sapi: https://testnet.binance.vision      # families the testnet does not have; not the real exchange's,
#   papi: https://testnet.binance.vision      # where a testnet key's reads and cancels would go otherwise
#   dapi: https://testnet.binancefuture.com
#   eapi: https://testnet.binancefuture.com

audit:
  sync: power                   # power: on disk before an order leaves; process: survives a crash, not a power cut

global_risk:
  source: embedded              # measured here from all accounts; remote + url: by another service; none
  # trip: by_tier               # a signal that demands action engages the emergency stop, instead of only blocking

accounts:
  main:
    exchange: binance
    mode: custody               # the proxy holds the exchange's key; bots get keys of their own
    credentials:
      api_key: ${env:BINANCE_KEY}
      secret: ${env:BINANCE_SECRET}   # or ${file:PATH}, a file that others cannot read
      kind: hmac                # or ed25519, rsa: then the secret is a PEM private key
    markets: [spot, futures]
    transfers_allowed: false
    bots:
      grid1:
        key: ${file:data/bot_grid1_key}
        secret: ${file:data/bot_grid1_secret}
        strategy: grid
"""


def write(folder: Path) -> list[str]:
    """Write the files; what to do next, line by line. Refuses if any of them is already there."""
    from proxy import ess
    from proxy.clock import SystemClock
    from proxy.stores.starter import policy_text

    data = folder / DATA_NAME
    files = {
        folder / SETTINGS_NAME: (SETTINGS_TEXT, 0o644),
        folder / POLICY_NAME: (policy_text(), 0o644),
        data / "admin_token": (secrets.token_urlsafe(32) + "\n", 0o600),
        data / BOT_KEY_NAME: (secrets.token_hex(32) + "\n", 0o600),
        data / BOT_SECRET_NAME: (secrets.token_hex(32) + "\n", 0o600),
    }
    if present := [str(file) for file in (*files, data / ESS_NAME) if file.exists()]:
        raise CommandFailed(f"nothing was written: {', '.join(present)} already there", Exit.REFUSED)
    folder.mkdir(parents=True, exist_ok=True)
    data.mkdir(mode=0o700, exist_ok=True)
    for file, (text, mode) in files.items():
        write_new(file, text, mode)
    ess.initialise(data / ESS_NAME, clock=SystemClock())
    return [
        f"wrote {', '.join(str(file) for file in files)} and the emergency stop, clear, in {data}",
        "next: export BINANCE_KEY=... BINANCE_SECRET=...",
        f"      riskgate check --config {folder / SETTINGS_NAME}",
        f"      riskgate run --config {folder / SETTINGS_NAME}",
        f"      riskgate snippet ccxt --config {folder / SETTINGS_NAME}",
    ]


def write_new(file: Path, text: str, mode: int) -> None:
    """Create a file that did not exist; it never has a wider mode, not even for an instant."""
    handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(handle, "w", encoding="utf-8") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
