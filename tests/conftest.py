"""What all tests share: the real command, snapshots of what it prints, and small collections of drawn pictures."""

from __future__ import annotations

import importlib.util
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image
from where_table import engine  # noqa: F401  a fixture of the tests of --where

import simsearch

ROOT = Path(__file__).parent.parent
SNAPSHOTS = Path(__file__).parent / "snapshots"
INPUT = 16
"""Side of the input of the tiny network, which averages a grid of 4 x 4 cells."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write-snapshots", action="store_true", help="Write what the snapshots should hold from now on.")


# -- the command -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Done:
    """What a run of the command gave."""

    status: int
    out: str
    err: str
    out_bytes: bytes

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    @property
    def records(self) -> list[dict[str, Any]]:
        """The JSON objects of its lines."""
        return [json.loads(line) for line in self.out.splitlines()]


Command = Callable[..., Done]


@pytest.fixture(scope="session")
def command() -> Command:
    """Runs ``simsearch ARGUMENTS`` as a process, its warnings errors, and by default expects exit status 0."""

    def run(
        *arguments: object,
        cwd: Path,
        stdin: bytes = b"",
        status: int | None = 0,
        env: dict[str, str] | None = None,
        timeout_s: float = 120,
    ) -> Done:
        known = {key: value for key, value in os.environ.items() if not key.startswith(("SIMSEARCH_", "PYTEST_"))}
        known |= {"PYTHONUTF8": "1", "PYTHONWARNINGS": "error", "NO_PROXY": "127.0.0.1", **(env or {})}
        found = subprocess.run(
            [sys.executable, "-m", "simsearch", *map(str, arguments)],
            cwd=cwd, input=stdin, capture_output=True, env=known, timeout=timeout_s, check=False,
        )  # fmt: skip
        done = Done(found.returncode, found.stdout.decode(), found.stderr.decode(), found.stdout)
        assert status is None or done.status == status, f"exit status {done.status}\n{done.out}\n{done.err}"
        return done

    return run


DROP_PRIVILEGES = """
import ctypes, os, sys
for capability in (1, 2):  # CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH, by which root reads and writes what it may not
    assert os.geteuid() != 0 or ctypes.CDLL(None).prctl(24, capability, 0, 0, 0) == 0  # PR_CAPBSET_DROP
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


@pytest.fixture
def unprivileged() -> list[str]:
    """How to start Python so that the permissions of files hold for it, even where the tests are run by root."""
    if sys.platform != "linux" and os.geteuid() == 0:
        pytest.skip("root cannot lay down its privileges here")
    return [sys.executable, "-c", DROP_PRIVILEGES]


# -- snapshots ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def snapshot(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Compares a text with the file of this name in tests/snapshots; a missing file fails."""

    def compare(name: str, text: str) -> None:
        path = SNAPSHOTS / name
        if request.config.getoption("--write-snapshots"):
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8", newline="\n")
        assert path.is_file(), (
            f"there is no snapshot {path}; look at the text, then run with --write-snapshots:\n{text}"
        )
        assert text == path.read_text(encoding="utf-8")

    return compare


# -- a network whose scores are worked out by hand ---------------------------------------------------------------------


@pytest.fixture(scope="session")
def tiny_network() -> Callable[..., Path]:
    """Makes a model folder: the network averages each of 4 x 4 cells, so it gives 48 numbers from -1 to 1."""

    def make(folder: Path, name: str = "tiny", revision: str = "1", flipped: bool = False) -> Path:
        import onnx
        from onnx import TensorProto, helper

        pixels = helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["n", 3, INPUT, INPUT])
        embedding = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", 48])
        nodes = [
            helper.make_node("AveragePool", ["pixels"], ["cells"], kernel_shape=[4, 4], strides=[4, 4]),
            helper.make_node("Flatten", ["cells"], ["flat"]),
            helper.make_node("Neg" if flipped else "Identity", ["flat"], ["embedding"]),
        ]
        graph = helper.make_graph(nodes, name, [pixels], [embedding])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        card = {
            "name": name, "revision": revision, "dim": 48, "input_size": INPUT, "resize": "squash",
            "interpolation": "bilinear", "mean": [0.5] * 3, "std": [0.5] * 3, "pooling": "mean of cells",
            "licence": "MIT",
        }  # fmt: skip
        folder.mkdir(parents=True, exist_ok=True)
        onnx.save(model, folder / "image.onnx")
        (folder / "card.json").write_text(json.dumps(card), encoding="utf-8")
        return folder

    return make


COLOURS = {
    "r": (255, 0, 0), "g": (0, 255, 0), "b": (0, 0, 255), "y": (255, 255, 0), "m": (255, 0, 255), "c": (0, 255, 255),
    "w": (255, 255, 255), "k": (0, 0, 0),
}  # fmt: skip


def stripes(code: str, size: tuple[int, int] = (INPUT, INPUT)) -> Image.Image:
    """A flag of vertical stripes, one for each letter."""
    width, height = size
    colours = np.array([COLOURS[letter] for letter in code], np.uint8)
    row = colours[np.arange(width) * len(code) // width]
    return Image.fromarray(np.broadcast_to(row, (height, width, 3)).copy())


@pytest.fixture(scope="session")
def flag() -> Callable[..., Image.Image]:
    """Draws a flag: the cosine of two flags is the mean over their stripes of 1 - 2/3 x channels that differ."""
    return stripes


@pytest.fixture(scope="session")
def flag_cosine() -> Callable[[str, str], float]:
    """The cosine of two flags of four stripes by the tiny network."""

    def cosine(first: str, second: str) -> float:
        pairs = [(COLOURS[a], COLOURS[b]) for a, b in zip(first, second, strict=True)]
        alike = [sum(1 if x == y else -1 for x, y in zip(a, b, strict=True)) / 3 for a, b in pairs]
        return sum(alike) / len(alike)

    return cosine


@dataclass(frozen=True, slots=True)
class Flag:
    """One work of the collection of flags."""

    path: str
    code: str
    title: str = ""
    artist: str = ""
    style: str = ""
    genre: str = ""
    date: str = ""
    shelf: str = ""
    size: tuple[int, int] = (INPUT, INPUT)

    @property
    def stem(self) -> str:
        return Path(self.path).stem


FLAGS = (
    Flag("art/warm/red.png", "rrrr", "Red", "Ada Flagg", "Plain", "flag", "1900", "A1", (64, 32)),
    Flag("art/warm/rust.png", "rrry", "Rust\nand \x1b[31mgold", "Ada Flagg", "Striped", "flag", "1910", "A2"),
    Flag("art/warm/ember.png", "rryy", "Ember", "Bo Banner", "Striped", "flag", "c. 1920", "A3"),
    Flag("art/warm/dune.png", "ryyy", "Dune", "Bo Banner", "Striped", "banner", "1930"),
    Flag("art/warm/sun.png", "yyyy", "Sun", "Cy Pennant", "Plain", "banner", "1940", "B1", (32, 64)),
    Flag("art/cold/sea.png", "bbbb", "Sea", "Ada Flagg", "Plain", "flag", "1950"),
    Flag("art/cold/ice.png", "cccc", "Ice", "Cy Pennant", "Plain", "", "1960"),
    Flag("art/cold/tide.png", "bbcc", "Tide", "Cy Pennant", "Striped"),
    Flag("art/cold/sea copy.png", "bbbb"),
    Flag("more/violet.png", "mmmm", "Violet", "Di Guidon", "Plain", "flag", "1970", "B2"),
    Flag("more/dusk.png", "mmkk"),
)
COLUMNS = ("path", "title", "artist", "style", "genre", "date", "shelf")


@dataclass(frozen=True, slots=True)
class Flags:
    """The collection of flags: where it is, its works, and their ids by the stem of their path."""

    folder: Path
    works: tuple[Flag, ...]
    id: dict[str, int]
    network: Path

    def work(self, stem: str) -> Flag:
        return next(work for work in self.works if work.stem == stem)

    def path(self, stem: str) -> Path:
        return self.folder / self.work(stem).path


@pytest.fixture(scope="session")
def flags(tmp_path_factory: pytest.TempPathFactory, tiny_network: Callable[..., Path]) -> Flags:
    """A collection of eleven flags in two sources, to be read only; `new_flags` makes one to change."""
    return index_flags(tmp_path_factory.mktemp("flags"), tiny_network)


@pytest.fixture
def new_flags(tmp_path: Path, tiny_network: Callable[..., Path]) -> Flags:
    """A collection of flags that a test may change."""
    return index_flags(tmp_path / "flags", tiny_network)


def index_flags(folder: Path, tiny_network: Callable[..., Path]) -> Flags:
    from simsearch import Options, index_folders, open_collection

    network = tiny_network(folder / "models" / "tiny")
    for work in FLAGS:
        (folder / work.path).parent.mkdir(parents=True, exist_ok=True)
        stripes(work.code, work.size).save(folder / work.path)
    for source in ("art", "more"):
        rows = [work for work in FLAGS if work.path.startswith(source) and work.title]
        write_table(folder / source / "artworks.csv", [{c: getattr(w, c) for c in COLUMNS} for w in rows], source)
    with open_collection(folder, write=True) as collection:
        report = index_folders(collection, [folder / "art", folder / "more"], Options(encoder=str(network)))
        works = list(collection.catalog.all_artworks())
    assert (report.added, report.failures) == (len(FLAGS), 0)
    return Flags(folder, FLAGS, {Path(str(work.path)).stem: work.id for work in works}, network)


def write_table(path: Path, rows: Iterable[dict[str, str]], below: str) -> None:
    import csv

    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, COLUMNS)
        table.writeheader()
        table.writerows(row | {"path": row["path"].removeprefix(f"{below}/")} for row in rows)


# -- a place to change -------------------------------------------------------------------------------------------------

COUNTS = ("added", "changed", "moved", "removed", "unchanged", "failures")
FOUR = {"red": "rrrr", "rust": "rrry", "sea": "bbbb", "ice": "cccc"}


@dataclass
class Place:
    """A folder with a collection in it, indexed with the tiny network."""

    folder: Path
    network: Path
    said: list[str] = field(default_factory=list)

    def draw(self, **codes: str) -> None:
        """Draws flags: ``art__red="rrrr"`` is art/red.png."""
        for name, code in codes.items():
            path = self.folder / (name.replace("__", "/") + ".png")
            path.parent.mkdir(parents=True, exist_ok=True)
            stripes(code).save(path)

    def index(self, *folders: str, **options: Any) -> simsearch.IndexReport:
        with simsearch.open_collection(self.folder, write=True) as collection:
            collection.notice = self.said.append
            settings = simsearch.Options(**({"encoder": str(self.network)} | options))
            return simsearch.index_folders(collection, [self.folder / folder for folder in folders], settings)

    def counts(self, *folders: str, **options: Any) -> str:
        report = self.index(*folders, **options)
        return ", ".join(f"{getattr(report, name)} {name}" for name in COUNTS if getattr(report, name))

    def works(self) -> dict[str, int]:
        """Path below the collection's folder to id."""
        with simsearch.open_collection(self.folder) as collection:
            works = list(collection.catalog.all_artworks())
        return {Path(str(work.path)).relative_to(self.folder).as_posix(): work.id for work in works}

    def sql(self, query: str) -> list[tuple[Any, ...]]:
        connection = sqlite3.connect(self.folder / ".simsearch" / "catalog.db")
        try:
            return connection.execute(query).fetchall()
        finally:
            connection.commit()
            connection.close()

    def nearest(self, query: str | int, k: int = 3) -> list[tuple[str, float]]:
        with simsearch.open_collection(self.folder) as collection:
            hits = simsearch.similar(collection, self.folder / query if isinstance(query, str) else query, k=k)
        return [(Path(hit.artwork.source_id).stem, hit.score) for hit in hits]


@pytest.fixture
def place(tmp_path: Path, tiny_network: Callable[..., Path]) -> Place:
    made = Place(tmp_path / "place", tiny_network(tmp_path / "place" / "models" / "tiny"))
    made.draw(**{f"art__{name}": code for name, code in FOUR.items()})
    assert made.counts("art") == "4 added"
    return made


# -- the painted gallery -----------------------------------------------------------------------------------------------


def load_by_path(path: Path) -> ModuleType:
    """The module of a script that lies in no package."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with three small painted pictures in each of the demo's manners, and their artworks.csv."""
    folder = tmp_path_factory.mktemp("painted") / "gallery"
    load_by_path(ROOT / "docs" / "demo" / "paint_gallery.py").paint_gallery(folder, 3, 7, 96)
    return folder


@pytest.fixture(scope="session")
def indexed_gallery(gallery: Path) -> Path:
    """The folder above the painted gallery, with a collection of it by the default encoder; to be read only."""
    return index_in_place(gallery)


def index_in_place(folder: Path, encoder: str | None = None) -> Path:
    from simsearch import Options, index_folders, open_collection

    with open_collection(folder.parent, write=True) as collection:
        report = index_folders(collection, [folder], Options(encoder=encoder))
    assert report.added > 0
    assert report.failures == 0
    return folder.parent


@pytest.fixture(scope="session")
def real_works() -> Callable[[int], Sequence[Path]]:
    """The first pictures of each style of the real collection, at most this many; none where it is not at hand."""

    def some(count: int) -> Sequence[Path]:
        folders = sorted(path for path in (ROOT.parent / "shared" / "art" / "wikiart").glob("*") if path.is_dir())
        each = -(-count // max(1, len(folders)))
        return [path for folder in folders for path in sorted(folder.glob("*.webp"))[:each]][:count]

    return some


@pytest.fixture(scope="session")
def some_works(request: pytest.FixtureRequest, real_works: Callable[[int], Sequence[Path]]) -> Sequence[Path]:
    """Sixteen pictures that all differ: real ones where they are at hand, painted ones elsewhere."""
    return real_works(16) or sorted(request.getfixturevalue("gallery").rglob("*.jpg"))[:16]
