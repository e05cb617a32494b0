"""The environments of the real clients: `python -m tests.clients.environments`, or `make clients`.

Both official connectors and python-binance install a package named `binance`, so each client
has an environment of its own under `.venv-clients/`, with every version pinned in
`requirements/`. An environment is stamped with what it was made from; one whose stamp still
fits is left alone.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import time
import venv
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".venv-clients"
REQUIREMENTS = Path(__file__).parent / "requirements"
CLIENTS = tuple(sorted(file.stem for file in REQUIREMENTS.glob("*.txt")))
AT_ONCE = 3  # downloads wait, unpacking does not: more than the cores, but not by much
STAMP = "made-from"


def python(client: str) -> Path:
    """The interpreter of a client's environment."""
    return FOLDER / client / "bin" / "python"


def requirements(client: str) -> Path:
    """The pinned versions a client's environment is made from."""
    return REQUIREMENTS / f"{client}.txt"


def is_made(client: str) -> bool:
    """Whether the environment is there and made from today's requirements and this Python."""
    stamp = FOLDER / client / STAMP
    return stamp.is_file() and stamp.read_text() == _stamp_of(client) and python(client).exists()


def _stamp_of(client: str) -> str:
    digest = hashlib.sha256(requirements(client).read_bytes()).hexdigest()
    return f"{digest} {sys.version_info.major}.{sys.version_info.minor}\n"


def make(client: str) -> float:
    """Make one environment anew; how many seconds it took. Raises CalledProcessError with pip's words on stderr."""
    started = time.perf_counter()
    folder = FOLDER / client
    shutil.rmtree(folder, ignore_errors=True)
    venv.create(folder, with_pip=False)
    # The running pip installs into the other environment: a pip of its own would cost more than most clients.
    pip = [sys.executable, "-m", "pip", "--python", str(python(client)), "install"]
    quiet = ["--quiet", "--disable-pip-version-check", "--no-deps", "--no-input"]
    subprocess.run([*pip, *quiet, "-r", str(requirements(client))], check=True, stdin=subprocess.DEVNULL)
    (folder / STAMP).write_text(_stamp_of(client))
    return time.perf_counter() - started


def main() -> int:
    """Make what is missing or out of date; 0 when all are there."""
    wanted = [client for client in CLIENTS if not is_made(client)]
    if not wanted:
        return 0
    started = time.perf_counter()
    failed = 0
    with ThreadPoolExecutor(AT_ONCE) as pool:
        making = {client: pool.submit(make, client) for client in wanted}
        for client, result in making.items():
            try:
                print(f"made .venv-clients/{client} in {result.result():.0f} s", flush=True)  # noqa: T201 - a command says what it did
            except (subprocess.CalledProcessError, OSError) as error:  # the others are still made, and this one named
                sys.stderr.write(f"could not make .venv-clients/{client}: {error}\n")
                failed += 1
    print(f"clients: {len(wanted) - failed} environments made in {time.perf_counter() - started:.0f} s")  # noqa: T201 - a command says what it did
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
