"""What can go wrong, as a tree.

    SimsearchError
    ├── QueryError                 a question that cannot be asked as put
    │   ├── WhereError             a filter expression that does not parse, or names no column
    │   ├── ArtworkNotFoundError   an artwork id that the collection does not hold
    │   └── LabelError             labels that cannot be learned from, or that are not there
    ├── ImageError                 bytes that give no picture; carries `reason`
    ├── SourceError                a folder or a table that cannot be read
    ├── EncoderError               a model folder that cannot be used, an encoder that is not there
    │   └── EncoderMismatchError   an embedding, index or head of another encoder
    ├── EmbeddingError             rows that are no embeddings: NaN, zero, of another width
    ├── HeadError                  a trained head that is not there, or whose files cannot be used
    ├── TrainingError              a network that cannot be fine-tuned or exported as asked
    ├── IndexFileError             a derived index that cannot be read; rebuilt from the catalog
    └── CollectionError
        ├── CollectionNotFoundError
        ├── CollectionCorruptError   refused and left untouched
        ├── CollectionTooNewError    written by a newer simsearch
        ├── CollectionLockedError    another process writes
        └── CollectionWriteError     read-only, or the disk is full

Every message says what is wrong, which thing it is about and what to do now. Only the command line turns one into an
exit status.
"""


class SimsearchError(Exception):
    """Anything that simsearch refuses, with a sentence for the person who asked."""


class QueryError(SimsearchError):
    """A question that cannot be asked as put."""


class WhereError(QueryError):
    """A filter expression that does not parse, or that names a column which is not there."""


class ArtworkNotFoundError(QueryError):
    """An artwork id that the collection does not hold."""


class LabelError(QueryError):
    """Labels that cannot be learned from or measured by: none, of one class only, of a kind that no work has."""


class ImageError(SimsearchError):
    """Bytes that give no picture.

    `reason` is one of the fixed words of `simsearch.images.REASONS`, by which failures are counted.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class SourceError(SimsearchError):
    """A folder or a table that cannot be read."""


class EncoderError(SimsearchError):
    """A model folder that cannot be used, or an encoder that is not there."""


class EncoderMismatchError(EncoderError):
    """An embedding, an index or a head that another encoder made."""


class EmbeddingError(SimsearchError):
    """Rows that are no embeddings: not finite, all zero, or of another width."""


class HeadError(SimsearchError):
    """A trained head that is not there, or whose card or weights cannot be used."""


class TrainingError(SimsearchError):
    """A network that cannot be fine-tuned or exported as asked: a recipe, weights or works that will not do."""


class IndexFileError(SimsearchError):
    """A derived index that cannot be read. The catalog holds all that is needed to build it again."""


class CollectionError(SimsearchError):
    """A collection that cannot be opened or written."""


class CollectionNotFoundError(CollectionError):
    """No collection where one was looked for."""


class CollectionCorruptError(CollectionError):
    """A catalog that is damaged; it is refused and left as it is."""


class CollectionTooNewError(CollectionError):
    """A collection that a newer simsearch wrote."""


class CollectionLockedError(CollectionError):
    """Another process is writing to the collection."""


class CollectionWriteError(CollectionError):
    """The collection cannot be written: it is read-only, or the disk is full."""
