"""Images of a collection by which an exported encoder is checked, and the export of an encoder by its name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from simsearch.catalog.catalog import Catalog
from simsearch.collection import Collection
from simsearch.watch import Watch, silent

if TYPE_CHECKING:  # they bring torch
    from simsearch.encoders.export.folder import Exported, Wishes

BLOCK = 8


def works_of(catalog: Catalog, seed: int) -> Iterator[Path]:
    """Image files of the collection, each work once, in an order drawn by the seed."""
    ids = np.random.default_rng(seed).permutation(catalog.ids_where())
    for block in np.array_split(ids, range(BLOCK, len(ids), BLOCK)):
        yield from (Path(work.path) for work in catalog.artworks(block.tolist()) if work.path)


def export_torch_encoder(
    location: str,
    to: Path,
    wishes: Wishes | None = None,
    *,
    collection: Collection | None = None,
    watch: Watch = silent,
) -> Exported:
    """Writes the encoder in torch at a location (`clip:...`, `timm:...`) as the model folder `to`.

    Folder and network are compared on images of the folder that was wished for, else of the collection, else on painted
    ones. Raises EncoderError where there is no such encoder, and TrainingError where it cannot be exported.
    """
    from simsearch.encoders.export.torch_encoder import SEED, export_towers
    from simsearch.encoders.registry import load_encoder
    from simsearch.encoders.running import Running

    encoder = load_encoder(location, Running(device="cpu", precision="fp32"))
    paths = works_of(collection.catalog, SEED) if collection else ()
    return export_towers(encoder, to, wishes, paths, watch)
