"""The schemas of the SQL stores, one step a file; alembic walks them. Imported only to create or migrate a store."""

from __future__ import annotations

from pathlib import Path
from threading import Lock

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection

from proxy.stores.tables import VERSION_TABLE

SCRIPTS = Path(__file__).parent
_ALONE = Lock()  # alembic hands the connection on in variables of its modules


def upgrade(connection: Connection, *, schema: str | None, found: str | None = None) -> None:
    """Bring the tables to the newest schema on `connection`; its owner begins and commits. Not for the event loop.

    `found` names the schema of tables that carry no version of their own.
    """
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    config.attributes.update(connection=connection, schema=schema, version_table=VERSION_TABLE)
    with _ALONE:
        if found is not None:
            command.stamp(config, found)
        command.upgrade(config, "head")
