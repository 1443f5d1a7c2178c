"""Embedding similarity search for artworks.

    import simsearch

    with simsearch.open_collection("pictures") as collection:
        for hit in simsearch.similar(collection, "painting.jpg", k=5):
            print(hit.score, hit.artwork.title)

Names are imported when they are first used, because what a short program does not use is what it waits for.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simsearch.blend import blended as blended
    from simsearch.classifier.audit import audit as audit
    from simsearch.classifier.classify import Classifier as Classifier
    from simsearch.classifier.classify import classify as classify
    from simsearch.classifier.classify import label_collection as label_collection
    from simsearch.classifier.compare import compare as compare
    from simsearch.classifier.evaluate import evaluate as evaluate
    from simsearch.classifier.train import Choices as Choices
    from simsearch.classifier.train import train as train
    from simsearch.collection import Collection as Collection
    from simsearch.collection import open_collection as open_collection
    from simsearch.errors import SimsearchError as SimsearchError
    from simsearch.indexer.run import Options as Options
    from simsearch.indexer.run import index_folders as index_folders
    from simsearch.records import Artwork as Artwork
    from simsearch.records import Hit as Hit
    from simsearch.records import IndexReport as IndexReport
    from simsearch.records import Label as Label
    from simsearch.records import Prediction as Prediction
    from simsearch.search import Filters as Filters
    from simsearch.search import similar as similar
    from simsearch.text_search import search_text as search_text

_HOME = {
    "Artwork": "records", "Choices": "classifier.train", "Classifier": "classifier.classify",
    "Collection": "collection", "Filters": "search", "Hit": "records", "IndexReport": "records", "Label": "records",
    "Options": "indexer.run", "Prediction": "records", "SimsearchError": "errors", "audit": "classifier.audit",
    "classify": "classifier.classify", "compare": "classifier.compare", "evaluate": "classifier.evaluate",
    "blended": "blend", "index_folders": "indexer.run", "label_collection": "classifier.classify",
    "open_collection": "collection",
    "search_text": "text_search", "similar": "search", "train": "classifier.train",
}  # fmt: skip
__all__ = sorted(_HOME)

# A checkout on a system without symbolic links holds small text files in their place.
_missing = [name for name in ("indexer", "classifier") if not (Path(__file__).parent / name).is_dir()]
if _missing:
    raise ImportError(
        f"simsearch/{_missing[0]} should be a symbolic link to ../{_missing[0]}, but this checkout has no links; "
        "run `git config core.symlinks true` and check it out again, or install the wheel"
    )


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'simsearch' has no attribute {name!r}")
    return getattr(import_module(f"simsearch.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
