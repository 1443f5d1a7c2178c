"""What a collection is made of: `simsearch info`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import IO, Any

from simsearch.catalog.schema import REVISION
from simsearch.collection import CATALOG, Collection, EncoderEntry
from simsearch.show.text import harmless


def facts(collection: Collection) -> dict[str, Any]:
    """Plain values: artworks, sources, labels, encoders with their index, sizes in bytes, failures, schema."""
    catalog = collection.catalog
    with catalog.snapshot():
        return {
            "collection": str(collection.folder),
            "schema": REVISION,
            "artworks": catalog.count(),
            "sources": [
                {"name": name, "folder": str(root), "reachable": root.is_dir()} for _, name, root in catalog.sources()
            ],
            "labels": {kind: len(catalog.labelled_ids(kind)) for kind in catalog.label_kinds()},
            "predicted": catalog.predicted(),
            "encoders": [_encoder(collection, entry) for entry in collection.encoders()],
            "bytes": {
                "catalog": sum(_size(path) for path in collection.folder.glob(f"{CATALOG}*")),
                "indexes": _size(collection.folder / "index"),
            },
            "failures": dict(Counter(failure.reason for failure in catalog.failures()).most_common()),
        }


def _encoder(collection: Collection, entry: EncoderEntry) -> dict[str, Any]:
    generation = collection.catalog.generation(entry.number)
    index = None
    if generation:
        parameters = {key: value for key, value in generation.parameters.items() if key != "files"}
        index = {"kind": generation.kind, **parameters, "works": generation.works,
                 "recall_at_10": 1.0 if generation.recall_at_10 is None else generation.recall_at_10,
                 "built": generation.created, "bytes": _size(collection.index_folder(generation))}  # fmt: skip
    rule = entry.info.preprocessing
    return {
        "name": entry.info.name,
        "revision": entry.info.revision,
        "dim": entry.info.dim,
        "location": entry.location,
        "input": f"{rule.size} px, {rule.resize}",
        "embedded": collection.catalog.embedded(entry.number),
        "index": index,
    }


def show_facts(said: dict[str, Any], out: IO[str]) -> None:
    """The same for people."""
    lines = [("collection", f"{said['collection']} (schema {said['schema']})"), ("artworks", f"{said['artworks']:,}")]
    lines += [("from", s["folder"] + ("" if s["reachable"] else " (unreachable now)")) for s in said["sources"]]
    labels = ", ".join(_labelled(kind, n, said["predicted"].get(kind, 0)) for kind, n in said["labels"].items())
    lines.append(("labelled", labels or "none; an artworks.csv beside the images adds them"))
    for encoder in said["encoders"]:
        name = f"{encoder['name']}@{encoder['revision']}, {encoder['dim']} numbers, {encoder['input']}"
        lines.append(("encoder", f"{name}, {encoder['embedded']:,} works embedded"))
        lines.append(("index", _index_line(encoder["index"])))
    size = said["bytes"]
    lines.append(("on disk", f"catalog {_mb(size['catalog'])}, indexes {_mb(size['indexes'])}"))
    failed = ", ".join(f"{n} {reason}" for reason, n in said["failures"].items())
    lines.append(("failures", f"{failed} (simsearch info --failures)" if failed else "none"))
    for name, text in lines:
        out.write(f"{name:<11} {harmless(text)}\n")


def _labelled(kind: str, said: int, predicted: int) -> str:
    return f"{kind} {said:,}" + (f" ({predicted:,} more predicted)" if predicted else "")


def _index_line(index: dict[str, Any] | None) -> str:
    if index is None:
        return "none yet: works are compared one by one"
    chosen = ", ".join(f"{index[key]} {key}" for key in ("lists", "probes") if key in index)
    kind = f"{index['kind']} ({chosen})" if chosen else index["kind"]
    measured = f"recall@10 {index['recall_at_10']:.3f}, {_mb(index['bytes'])}, built {index['built']}"
    return f"{kind}, {index['works']:,} works, {measured}"


def _size(path: Path) -> int:
    if path.is_dir():
        return sum(_size(inner) for inner in path.iterdir())
    return path.stat().st_size if path.exists() else 0


def _mb(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
