"""`store`: where policies are kept."""

from __future__ import annotations

from proxy.cli.options import Config, group

app = group("Make and migrate the policy store itself.")


@app.command("status")
def status(config: Config = None) -> None:
    """Say where the policy store is, and its latest revision."""
    from proxy.cli import stores

    stores.status(config)


@app.command("create")
def create(config: Config = None) -> None:
    """Make the policy store from the policy file; one that is there is never overwritten."""
    from proxy.cli import stores

    stores.create(config)


@app.command("migrate")
def migrate(config: Config = None) -> None:
    """Bring the policy store to the schema of this version. A file is copied beside itself first."""
    from proxy.cli import stores

    stores.migrate(config)
