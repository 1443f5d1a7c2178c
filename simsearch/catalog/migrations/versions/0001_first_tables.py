"""The first tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table("meta", sa.Column("key", sa.Text, primary_key=True), sa.Column("value", sa.Text, nullable=False))
    op.create_table(
        "source",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.Text, nullable=False, unique=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("location", sa.Text, nullable=False),
        sa.Column("table_stamp", sa.Text),
        sa.Column("listing", sa.Text),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "artwork",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("source", sa.Integer, sa.ForeignKey("source.id"), nullable=False),
        sa.Column("source_id", sa.Text, nullable=False),
        sa.Column("file_size", sa.Integer),
        sa.Column("file_mtime_ns", sa.Integer),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("width", sa.Integer),
        sa.Column("height", sa.Integer),
        sa.Column("title", sa.Text),
        sa.Column("date", sa.Text),
        sa.Column("begin_year", sa.Integer),
        sa.Column("end_year", sa.Integer),
        sa.Column("medium", sa.Text),
        sa.Column("classification", sa.Text),
        sa.Column("credit_line", sa.Text),
        sa.Column("rights", sa.Text),
        sa.Column("source_url", sa.Text),
        sa.Column("iiif_url", sa.Text),
        sa.Column("extra", sa.JSON, nullable=False),
        sa.Column("changed_run", sa.Integer, nullable=False),
        sa.UniqueConstraint("source", "source_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("artwork_digest", "artwork", ["digest"])
    op.create_index("artwork_changed_run", "artwork", ["changed_run"])
    op.create_table(
        "label",
        sa.Column("artwork", sa.Integer, sa.ForeignKey("artwork.id", ondelete="CASCADE"), nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("origin", sa.Text, nullable=False),
        sa.Column("value", sa.Text, nullable=False),
        sa.Column("confidence", sa.Float),
        sa.PrimaryKeyConstraint("artwork", "kind", "origin", "value"),
    )
    op.create_index("label_kind_value", "label", ["kind", "value"])
    op.create_table(
        "encoder",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("revision", sa.Text, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("dim", sa.Integer, nullable=False),
        sa.Column("preprocessing", sa.JSON, nullable=False),
        sa.Column("location", sa.Text, nullable=False),
        sa.UniqueConstraint("name", "revision", "digest"),
    )
    op.create_table(
        "embedding",
        sa.Column("encoder", sa.Integer, sa.ForeignKey("encoder.id"), nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("vector", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("encoder", "digest"),
    )
    op.create_table(
        "generation",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("encoder", sa.Integer, sa.ForeignKey("encoder.id"), nullable=False),
        sa.Column("folder", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("parameters", sa.JSON, nullable=False),
        sa.Column("works", sa.Integer, nullable=False),
        sa.Column("run", sa.Integer, nullable=False),
        sa.Column("recall_at_10", sa.Float),
        sa.Column("background", sa.BLOB, nullable=False),
        sa.Column("created", sa.Text, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "failure",
        sa.Column("source", sa.Integer, sa.ForeignKey("source.id"), nullable=False),
        sa.Column("source_id", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("run", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("source", "source_id"),
    )
    op.create_table(
        "removed",
        sa.Column("artwork", sa.Integer, primary_key=True),
        sa.Column("run", sa.Integer, nullable=False),
    )
    op.create_table(
        "run",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("started", sa.Text, nullable=False),
        sa.Column("finished", sa.Text),
        sa.Column("report", sa.JSON),
        sqlite_autoincrement=True,
    )
