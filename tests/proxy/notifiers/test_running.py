"""A running proxy tells: from the settings file to the receiver."""

import asyncio
import json
import signal

from proxy.cli.main import run
from tests.canary import WORD, marked
from tests.proxy.cli.conftest import folder as folder
from tests.proxy.cli.test_serving import config as config
from tests.proxy.cli.test_serving import started
from tests.proxy.notifiers.conftest import until


async def test_a_running_proxy_tells_its_start_a_halt_and_its_end(config, folder, server):
    """The halt is at the receiver within five seconds of the command, the end before the process is gone."""
    webhook = f"{{url: '{server.url}/{marked('hook')}', secret: {marked('signs-alerts')}}}"
    config.write_text(f"{config.read_text()}\nnotify: {{webhook: {webhook}}}\n")
    config.chmod(0o600)
    process, at = await started(config)

    def titles():
        return [json.loads(body)["title"] for _, _, body in server.posted]

    words = ["halt", "--reason", "fills", "--admin-url", at["admin"]]
    code = await asyncio.to_thread(run, [*words, "--token-file", str(folder / "data" / "admin_token")])
    await until(lambda: "[riskgate] HALT global" in titles())
    process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(30):
        await process.communicate()

    assert code == 0
    assert titles()[0].startswith("[riskgate] started, version")
    assert titles()[-1] == "[riskgate] stopping"
    assert all(WORD.encode() not in body for _, _, body in server.posted)
