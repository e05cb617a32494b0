"""The current policy and its history, as the first SQLite files had them."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import context, op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def _columns(*, revision_is_key: bool) -> list[sa.Column[Any]]:
    return [
        sa.Column(
            "revision", sa.Integer, nullable=False, primary_key=revision_is_key, unique=not revision_is_key or None
        ),
        *(
            sa.Column(name, sa.Text, nullable=False)
            for name in ("updated_at", "updated_by", "reason", "document", "digest")
        ),
    ]


def upgrade() -> None:
    """Make both tables."""
    schema = context.config.attributes["schema"]
    op.create_table(
        "policy_current",
        *_columns(revision_is_key=False),
        sa.Column("only", sa.Integer, primary_key=True, autoincrement=False, server_default=sa.text("1")),
        sa.CheckConstraint('"only" = 1', name="policy_current_only"),
        schema=schema,
        sqlite_strict=True,
    )
    op.create_table("policy_history", *_columns(revision_is_key=True), schema=schema, sqlite_strict=True)
