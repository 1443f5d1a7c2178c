"""The words that were said of each work, for full-text search."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

SAID = """(label.origin = 'human' OR label.origin = 'source' AND NOT EXISTS (
    SELECT 1 FROM label AS person
    WHERE person.artwork = label.artwork AND person.kind = label.kind AND person.origin = 'human'))"""


def upgrade() -> None:
    op.execute("CREATE VIRTUAL TABLE words USING fts5(title, artist, terms, tokenize='unicode61 remove_diacritics 2')")
    op.execute(
        f"""
        INSERT INTO words (rowid, title, artist, terms)
        SELECT artwork.id, artwork.title,
            (SELECT group_concat(label.value, char(10)) FROM label
             WHERE label.artwork = artwork.id AND label.kind = 'artist' AND {SAID}),
            (SELECT group_concat(term, char(10)) FROM (
                SELECT CASE WHEN label.kind IN ('style', 'genre') THEN label.value
                            ELSE label.kind || ' ' || label.value END AS term
                FROM label WHERE label.artwork = artwork.id AND label.kind <> 'artist' AND {SAID}
                UNION ALL SELECT artwork.date UNION ALL SELECT artwork.medium UNION ALL SELECT artwork.classification
                UNION ALL SELECT value FROM json_each(artwork.extra)))
        FROM artwork
        """
    )
