"""Where a network of torch is found: what a person writes after ``--encoder``, and what the catalog keeps.

    clip:NAME/TAG                a model of open_clip with published weights: clip:ViT-B-32/laion2b_s34b_b79k
    clip:NAME/TAG?weights=FILE   the same where the weights were downloaded as a file
    clip:NAME?weights=FILE       an architecture of open_clip, by name or as its JSON file, with a local checkpoint
    clip:FOLDER                  a folder with open_clip_config.json and the weights
    clip:hf-hub:ORG/NAME         the same as a repository on the Hugging Face hub
    timm:NAME[?OPTION&OPTION]    a backbone of timm: weights=FILE, layer=LAYER, pool=avg|max|token|gram, size=N

A ``?`` or an ``&`` begins an option only where a word and ``=`` follow, so that paths may hold them. After ``clip:``
an existing folder is one, whatever else its name could mean.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

from simsearch.errors import EncoderError

HUB = "hf-hub:"
POOLS = ("avg", "max", "token", "gram")
OPTIONS = {"clip": ("weights",), "timm": ("weights", "layer", "pool", "size")}


@dataclass(frozen=True, slots=True)
class ClipLocation:
    """A model of open_clip; ``str`` gives it as it is written, with absolute paths."""

    kind: Literal["tag", "checkpoint", "folder", "hub"]
    name: str
    """The architecture's name or the path of its JSON; of a folder its path; of a hub ORG/NAME."""
    tag: str = ""
    """The published weights; only for ``tag``, and empty where a person named none."""
    weights: Path | None = None
    """The file with the weights; for ``checkpoint``, and for ``tag`` where they need not be fetched."""

    def __str__(self) -> str:
        tag = f"/{self.tag}" if self.tag else ""
        weights = f"?weights={self.weights}" if self.weights else ""
        return f"clip:{HUB if self.kind == 'hub' else ''}{self.name}{tag}{weights}"


@dataclass(frozen=True, slots=True)
class TimmLocation:
    """A backbone of timm; ``str`` gives it as it is written, with absolute paths and its options in one order."""

    name: str
    weights: Path | None = None
    """None: those that timm publishes for the name."""
    layer: str | None = None
    """The module whose output is taken; None: the network's own features."""
    pool: str | None = None
    """One of :data:`POOLS`; None: the network's own pooling, or the average over a layer's positions."""
    size: int | None = None
    """Side of the input in pixels; None: the network's own."""

    def __str__(self) -> str:
        given = [f"{key}={value}" for key in OPTIONS["timm"] if (value := getattr(self, key)) is not None]
        return f"timm:{self.name}" + ("?" + "&".join(given) if given else "")


Location = ClipLocation | TimmLocation


def parse_location(text: str) -> Location | None:
    """The location that a text names, its paths absolute; None where it begins neither with clip: nor with timm:.

    Raises EncoderError where such a text cannot be read. Nothing is loaded; names are not looked up.
    """
    family, colon, rest = text.partition(":")
    if not colon or family not in OPTIONS:
        return None
    rest, options = _split_options(family, rest.strip(), text)
    if not rest:
        raise EncoderError(f"{text!r} names no model; write {_EXAMPLE[family]}")
    return _clip(rest, options, text) if family == "clip" else _timm(rest, options, text)


def with_settings(text: str, settings: Mapping[str, object]) -> str:
    """The location of a text as it is stored, with options that were given apart from it: weights, layer, pool, size.

    Raises EncoderError where the encoder does not take an option, or has it already.
    """
    family = text.partition(":")[0]
    begun = parse_location(text) is not None  # says what is wrong before anything is added
    for key, value in settings.items():
        if not begun or key not in OPTIONS[family]:
            takers = " and ".join(f"{name}:" for name, known in OPTIONS.items() if key in known)
            raise EncoderError(f"{text} takes no {key}; that is for encoders of {takers}")
        text += f"{'&' if re.search(r'[?](?=[a-z_]+=)', text) else '?'}{key}={value}"
    return str(parse_location(text)) if begun else text


_EXAMPLE = {
    "clip": "clip:NAME/TAG, such as clip:ViT-B-32/laion2b_s34b_b79k",
    "timm": "timm:NAME, such as timm:vit_small_patch14_dinov2",
}


def _split_options(family: str, rest: str, text: str) -> tuple[str, dict[str, str]]:
    name, *given = re.split(r"\?(?=[a-z_]+=)", rest, maxsplit=1)
    options: dict[str, str] = {}
    for part in re.split(r"&(?=[a-z_]+=)", given[0]) if given else ():
        key, _, value = part.partition("=")
        if key not in OPTIONS[family]:
            near = get_close_matches(key, OPTIONS[family], n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(OPTIONS[family])}"
            raise EncoderError(f"{text!r} has an option {key!r} that {family}: does not know; {hint}")
        if key in options:
            raise EncoderError(f"{text!r} gives {key} twice; leave one away")
        if not value.strip():
            raise EncoderError(f"{text!r} gives no value for {key}; write one behind the = or leave {key} away")
        options[key] = value.strip()
    return name, options


def _clip(rest: str, options: dict[str, str], text: str) -> ClipLocation:
    if rest.startswith(HUB):
        name = rest.removeprefix(HUB)
        if options or not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
            raise EncoderError(f"{text!r} is no model on the hub; write clip:hf-hub:ORG/NAME and no options")
        return ClipLocation("hub", name)
    weights = _absolute(options["weights"]) if "weights" in options else None
    if weights and rest.endswith(".json"):
        return ClipLocation("checkpoint", str(_absolute(rest)), weights=weights)
    folder = Path(rest).expanduser()
    if folder.is_dir() or rest.startswith((".", "~")) or folder.is_absolute():
        if weights:
            raise EncoderError(f"{text!r} names a folder, which has its weights in it; leave weights= away")
        return ClipLocation("folder", str(_absolute(rest)))
    name, _, tag = rest.rpartition("/")
    if weights and not name:
        return ClipLocation("checkpoint", rest, weights=weights)
    return ClipLocation("tag", name.replace("/", "-"), tag, weights) if name else ClipLocation("tag", rest)


def _timm(name: str, options: dict[str, str], text: str) -> TimmLocation:
    weights, pool, size = options.get("weights"), options.get("pool"), options.get("size")
    if pool is not None and pool not in POOLS:
        raise EncoderError(f"{text!r} has pool {pool!r}; there are {', '.join(POOLS)}")
    if size is not None and not (size.isdecimal() and 0 < int(size) <= 4096):
        raise EncoderError(f"{text!r} has size {size!r}; give the side of the input in pixels, 1 to 4096")
    return TimmLocation(
        name, _absolute(weights) if weights else None, options.get("layer"), pool, int(size) if size else None
    )


def _absolute(path: str) -> Path:
    return Path(path).expanduser().resolve()
