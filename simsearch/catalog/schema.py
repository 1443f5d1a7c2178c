"""The catalog's tables as they stand at the newest revision. `migrations/` holds the way there, step by step."""

from __future__ import annotations

from sqlalchemy import (
    BLOB,
    JSON,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
)

REVISION = "0003"
"""The newest migration. A test holds it against the files of `migrations/versions`."""

metadata = MetaData()

meta = Table("meta", metadata, Column("key", Text, primary_key=True), Column("value", Text, nullable=False))

source = Table(
    "source",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", Text, nullable=False, unique=True),  # folder:pictures
    Column("kind", Text, nullable=False),
    Column("location", Text, nullable=False),  # relative to the collection's parent where it lies below it
    Column("table_stamp", Text),  # of the tables and lists of labels that were read last
    Column(
        "listing", Text
    ),  # digest of the walk after which every file was in the catalog; empty while that may not hold
    Column("labels", Text),  # JSON: the lists of labels that were named for it; empty while those in it are taken
    sqlite_autoincrement=True,
)

artwork = Table(
    "artwork",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("source", ForeignKey("source.id"), nullable=False),
    Column("source_id", Text, nullable=False),
    Column("file_size", Integer),
    Column("file_mtime_ns", Integer),
    Column("digest", LargeBinary, nullable=False),  # SHA-256 of the file's bytes
    Column("width", Integer),
    Column("height", Integer),
    Column("title", Text),
    Column("date", Text),
    Column("begin_year", Integer),
    Column("end_year", Integer),
    Column("medium", Text),
    Column("classification", Text),
    Column("credit_line", Text),
    Column("rights", Text),
    Column("source_url", Text),
    Column("iiif_url", Text),
    Column("extra", JSON, nullable=False),  # columns of a table that have no column here, as text
    Column("changed_run", Integer, nullable=False),  # the run that last gave it another image
    UniqueConstraint("source", "source_id"),
    sqlite_autoincrement=True,  # a number is never given twice, so an old index can name no wrong work
)
Index("artwork_digest", artwork.c.digest)
Index("artwork_changed_run", artwork.c.changed_run)

label = Table(
    "label",
    metadata,
    Column("artwork", ForeignKey("artwork.id", ondelete="CASCADE"), nullable=False),
    Column("kind", Text, nullable=False),
    Column("origin", Text, nullable=False),  # human | source | predicted
    Column("value", Text, nullable=False),
    Column("confidence", Float),
    PrimaryKeyConstraint("artwork", "kind", "origin", "value"),
)
Index("label_kind_value", label.c.kind, label.c.value)

encoder = Table(
    "encoder",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", Text, nullable=False),
    Column("revision", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("dim", Integer, nullable=False),
    Column("preprocessing", JSON, nullable=False),
    Column("location", Text, nullable=False),
    UniqueConstraint("name", "revision", "digest"),
)

embedding = Table(
    "embedding",
    metadata,
    Column("encoder", ForeignKey("encoder.id"), nullable=False),
    Column("digest", LargeBinary, nullable=False),  # of the image's bytes: works with the same bytes share it
    Column("vector", LargeBinary, nullable=False),  # little-endian float16
    PrimaryKeyConstraint("encoder", "digest"),
)

generation = Table(
    "generation",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("encoder", ForeignKey("encoder.id"), nullable=False),
    Column("folder", Text, nullable=False),  # below the collection, with forward slashes
    Column("kind", Text, nullable=False),
    Column("parameters", JSON, nullable=False),
    Column("works", Integer, nullable=False),
    Column("run", Integer, nullable=False),  # works changed in later runs are searched beside the index
    Column("recall_at_10", Float),
    Column("background", BLOB, nullable=False),  # sorted float32 cosines of random pairs
    Column("created", Text, nullable=False),
    sqlite_autoincrement=True,
)

failure = Table(
    "failure",
    metadata,
    Column("source", ForeignKey("source.id"), nullable=False),
    Column("source_id", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("run", Integer, nullable=False),
    PrimaryKeyConstraint("source", "source_id"),
)

removed = Table(
    "removed",
    metadata,
    Column("artwork", Integer, primary_key=True),
    Column("run", Integer, nullable=False),
)

run = Table(
    "run",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("started", Text, nullable=False),
    Column("finished", Text),
    Column("report", JSON),
    sqlite_autoincrement=True,
)

WORDS = "CREATE VIRTUAL TABLE words USING fts5(title, artist, terms, tokenize='unicode61 remove_diacritics 2')"
"""The words that were said of each work; rowid is the artwork's id. `words.py` fills and asks it.

It is no table of `metadata`: SQLAlchemy knows no virtual ones. Capitals and accents make no difference to it.
"""
