"""Run by alembic: the migrations work on the connection that `upgrade` was given, inside its transaction."""

from __future__ import annotations

from alembic import context

_given = context.config.attributes
context.configure(
    connection=_given["connection"],
    version_table=_given["version_table"],
    version_table_schema=_given["schema"],
    transaction_per_migration=False,
)
with context.begin_transaction():
    context.run_migrations()
