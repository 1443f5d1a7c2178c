"""What `--labels` names: recognised, found on disk, remembered for the next run, and read.

    auto              lists that lie in the folder and are called as ArtGAN's or Painting91's; without --labels, too
    none              no list, only the tables beside the images
    folders=KIND      the top folder of an image is its label of that kind
    wikiart           ArtGAN's layout, with lists where they lie in the folder
    painting91        Painting91's .mat files where they lie in the folder
    FOLDER            a folder elsewhere that holds ArtGAN's lists or Painting91's files
    LIST.csv=KIND     a list of paths with labels, or with class indices and ``--classes FILE``

KIND is artist, style, genre or kind. Several may be named: where two speak of one column of an image, the one named
last is believed, and the tables beside the images before any of them.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

from simsearch.errors import SourceError
from simsearch.indexer.scan import scan
from simsearch.indexer.sources import painting91, wikiart
from simsearch.indexer.sources.classes import ClassList, Folders
from simsearch.indexer.sources.lists import LabelSource, Told
from simsearch.indexer.sources.table import LABELS, Description

AUTO, NONE, FOLDERS, WIKIART, PAINTING91 = WORDS = ("auto", "none", "folders", "wikiart", "painting91")
NAMES = wikiart.NAMES | painting91.NAMES
"""Names of files by which lists are found in a folder."""


@dataclass(frozen=True, slots=True)
class Named:
    """One value of `--labels` or `--classes`."""

    what: str
    """One of `WORDS`, or an absolute path."""
    kind: str = ""

    @property
    def path(self) -> Path | None:
        """Where it is, if it is a path."""
        return None if self.what in WORDS else Path(self.what)


@dataclass(frozen=True, slots=True)
class Choice:
    """What was named for a folder."""

    labels: tuple[Named, ...] = (Named(AUTO),)
    classes: tuple[Named, ...] = ()

    def to_json(self, base: Path) -> str:
        """Text to remember it by; paths below `base` become relative, so that both can move together."""
        values = {"labels": self.labels, "classes": self.classes}
        return json.dumps({key: [[_placed(n, base), n.kind] for n in named] for key, named in values.items()})

    @classmethod
    def from_json(cls, text: str | None, base: Path) -> Choice:
        """The inverse of :meth:`to_json`; the default where nothing is remembered."""
        if text is None:
            return cls()
        labels, classes = (
            tuple(Named(what if what in WORDS else str(base / what), kind) for what, kind in json.loads(text)[key])
            for key in ("labels", "classes")
        )
        return cls(labels, classes)


def choice(labels: Sequence[str], classes: Sequence[str] = ()) -> Choice | None:
    """What the user named, or None for nothing. Raises SourceError for what is no word, no path, or no kind."""
    if not labels and not classes:
        return None
    named = tuple(_named(text, "--labels") for text in ([labels] if isinstance(labels, str) else labels))
    files = tuple(_named(text, "--classes") for text in ([classes] if isinstance(classes, str) else classes))
    for one in named:
        if one.what == FOLDERS and not one.kind:
            raise SourceError(f"--labels folders lacks what the folders mean: folders=KIND with one of {_kinds()}")
        if one.what != FOLDERS and one.kind and (one.path is None or one.path.is_dir()):
            raise SourceError(f"--labels {one.what} has kinds of its own; leave out ={one.kind}")
        if one.path is not None and one.path.is_file() and not one.kind:
            raise SourceError(f"--labels {one.path} lacks what the labels are: LIST.csv=KIND with one of {_kinds()}")
    lists = {one.kind for one in named if one.path is not None and one.path.is_file()}
    layouts = any(one.what in (AUTO, WIKIART, PAINTING91) or (one.path and one.path.is_dir()) for one in named)
    for one in files:
        if not (lists if not one.kind else one.kind in lists or layouts):
            raise SourceError(
                f"--classes {one.what} goes with no list{f' of {one.kind}' if one.kind else ''} that --labels names; "
                f"name both: --labels LIST.csv={one.kind or 'KIND'} --classes {one.what}"
            )
    if len(named) > 1 and any(one.what == NONE for one in named):
        raise SourceError("--labels none goes with no other --labels; leave out one of them")
    return Choice(named, files)


def _named(text: str, option: str) -> Named:
    what, equals, kind = text.rpartition("=")
    if not equals or (kind not in LABELS and Path(text).expanduser().exists()):
        what, kind = text, ""
    elif kind not in LABELS:
        near = get_close_matches(kind, LABELS, 1)
        raise SourceError(
            f"{option} {text}: {kind!r} is no kind of label{f', did you mean {near[0]!r}' if near else ''}; "
            f"there are {_kinds()}"
        )
    if option == "--labels" and what in WORDS:
        return Named(what, kind)
    path = Path(os.path.abspath(Path(what).expanduser()))  # noqa: PTH100  links keep their names, as in the walk
    if not path.exists():
        near = get_close_matches(what, WORDS, 1) if option == "--labels" else []
        words = f", nor is it one of {', '.join(WORDS)}{f'; did you mean {near[0]!r}' if near else ''}"
        raise SourceError(f"{option} {what}: there is no such file or folder{words if option == '--labels' else ''}")
    if option == "--classes" and not path.is_file():
        raise SourceError(f"{option} {what} is a folder; name the class file in it")
    return Named(str(path), kind)


def _kinds() -> str:
    return ", ".join(sorted(LABELS))


def _placed(named: Named, base: Path) -> str:
    path = named.path
    return named.what if path is None else path.relative_to(base).as_posix() if path.is_relative_to(base) else str(path)


# -- on disk -----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Labels:
    """The labels of one folder: found, not yet read."""

    root: Path
    sources: list[LabelSource] = field(default_factory=list)
    told: Told = field(default_factory=Told)
    unasked: bool = False
    """They were found by their names alone, and nobody named them."""
    stamp: str = ""
    """Changes when what is named changes, or one of its files does; empty without any list."""
    lost: str = ""
    """A sentence about remembered labels that cannot be reached; nothing that was said before is taken back then."""

    def read(self, paths: Iterable[str]) -> dict[str, Description]:
        """What the lists say of these images. Raises SourceError for a list that is not as it should be."""
        paths, out = list(paths), dict[str, Description]()
        for source in self.sources:
            try:
                found = source.read(self.root, paths, self.told)
            except SourceError as error:
                raise SourceError(f"{error} (--labels none leaves out all lists)") if self.unasked else error from error
            for path, said in found.items():
                out[path] = out[path] | said if path in out else said
        return out


def find(chosen: Choice, root: Path, in_root: Iterable[Path], fresh: bool) -> Labels:
    """The labels of a folder, given the files in it that are called as lists are.

    Raises SourceError where what is named holds no list. Where it is only remembered from another run (not `fresh`),
    that is said in `Labels.lost` instead: its disk may come back.
    """
    labels = Labels(root, unasked=chosen == Choice())
    in_root = list(in_root)
    try:
        for named in chosen.classes:
            _reach(named)
        for named in chosen.labels:
            labels.sources += _find(named, chosen, in_root, root, labels.told)
        labels.stamp = _stamp(labels.sources, chosen, root)
    except SourceError as error:
        if fresh:
            raise
        return Labels(root, lost=f"{error}; what they said of {root} stays (--labels none drops it)")
    return labels


def _stamp(sources: Sequence[LabelSource], chosen: Choice, root: Path) -> str:
    named = (*chosen.labels, *chosen.classes)
    lines = [f"{one.what if one.path is None else os.path.relpath(one.path, root)} {one.kind}" for one in named]
    for file in dict.fromkeys(file for source in sources for file in source.files):
        try:
            stat = file.stat()
        except OSError as error:
            raise SourceError(f"the labels in {file} cannot be reached ({error.strerror or error})") from error
        lines.append(f"{os.path.relpath(file, root)} {stat.st_size} {stat.st_mtime_ns}")
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest() if sources else ""


def _find(named: Named, chosen: Choice, in_root: list[Path], root: Path, told: Told) -> list[LabelSource]:
    classes = {one.kind: Path(one.what) for one in chosen.classes}
    of_kinds = {kind: path for kind, path in classes.items() if kind}
    path = _reach(named)
    if named.what == NONE:
        return []
    if named.what == FOLDERS:
        return [Folders(named.kind)]
    if path is not None and not path.is_dir():
        return [ClassList(named.kind, path, classes.get(named.kind, classes.get("")))]
    files = in_root if path is None else lists_in(path, root, in_root)
    artgan, painting = wikiart.find(files, of_kinds, told), painting91.find(files, of_kinds)
    if named.what == AUTO and painting and not painting91.complete(painting):
        painting = None
    if named.what == WIKIART:
        artgan, painting = artgan or wikiart.WikiArt(), None
    if named.what == PAINTING91:
        artgan = None
    out: list[LabelSource] = [source for source in (artgan, painting) if source is not None]
    if not out and named.what != AUTO:
        known = "labels.mat" if named.what == PAINTING91 else "style_train.csv, labels.mat and the like"
        raise SourceError(f"{path or root} holds no list that is known by its name ({known}); name a CSV itself")
    return out


def _reach(named: Named) -> Path | None:
    path = named.path
    if path is not None and not path.exists():
        raise SourceError(f"the labels in {path} cannot be reached")
    return path


def lists_in(folder: Path, root: Path | None = None, in_root: Iterable[Path] = ()) -> list[Path]:
    """The files in a folder that are called as lists are; taken from those of `root` where the folder lies in it."""
    if root is not None and folder.is_relative_to(root):
        return [file for file in in_root if file.is_relative_to(folder)]
    try:
        return [folder / name for name in scan(folder, lists=NAMES).lists]
    except OSError as error:
        raise SourceError(f"the labels in {folder} cannot be reached ({error.strerror or error})") from error
