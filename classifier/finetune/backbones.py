"""Networks that turn pixels into features: any of timm's, with their own weights, a file's, or none."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call

from simsearch.classifier.finetune.recipe import Recipe
from simsearch.classifier.finetune.weights import fill, read_weights
from simsearch.errors import TrainingError

Channels = tuple[float, float, float]
IMAGENET_MEAN: Channels = (0.485, 0.456, 0.406)
IMAGENET_STD: Channels = (0.229, 0.224, 0.225)
CNN_WIDTHS = (32, 64, 128)


class Fed(Protocol):
    """What is fed with normalised pixels."""

    @property
    def mean(self) -> Channels:
        """Subtracted from the channels, 0 to 1."""

    @property
    def std(self) -> Channels:
        """By which they are divided then."""


class Backbone(nn.Module, ABC):
    """A network without its classifier. Features are tokens (n, T, width) or a map (n, width, h, w)."""

    kind: Literal["tokens", "map"]
    width: int
    prefix: int = 0
    """Tokens before the patches: the class token, if there is one, and then registers."""
    class_token: bool = False
    """Whether the first token is a class token."""
    grid: tuple[int, int] = (0, 0)
    """Rows and columns of the patches or of the map at the recipe's input size; zeros where tokens lie in no square."""
    depth: int = 0
    """Blocks, of a vision transformer that can be cut."""
    mean: Channels = IMAGENET_MEAN
    std: Channels = IMAGENET_STD

    @abstractmethod
    def layers(self) -> list[list[nn.Parameter]]:
        """Parameters from the input to the output, block by block."""

    def lower(self, x: Tensor, below: int) -> Tensor:
        """What the first `below` blocks make of normalised pixels (n, 3, size, size)."""
        raise TrainingError(f"{type(self).__name__} has no blocks to cut at; leave cache away")

    def upper(self, x: Tensor, below: int, keep: Tensor | None = None) -> Tensor:
        """Features of what :meth:`lower` gave."""
        raise TrainingError(f"{type(self).__name__} has no blocks to cut at; leave cache away")


class Transformer(Backbone):
    """A vision transformer of timm, which can be cut between blocks.

    Its position embedding, learned at one size, is brought to the recipe's as timm does it: the grid of patches
    resampled bicubically with antialiasing, the class token's own entry kept. DINOv2's own code resamples without
    antialiasing and at a scale of 0.1 patches more, so that away from 518 pixels features differ a little from its.
    """

    kind = "tokens"

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network
        self.width, self.depth = int(network.embed_dim), len(network.blocks)
        self.prefix, self.class_token = int(network.num_prefix_tokens), network.cls_token is not None
        down, across = network.patch_embed.grid_size
        self.grid = (int(down), int(across))
        self.mean, self.std = _statistics(network)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (n, T, width) after the last norm, of normalised pixels (n, 3, size, size)."""
        return self.upper(self.lower(x, 0), 0)

    def lower(self, x: Tensor, below: int) -> Tensor:
        """Tokens (n, T, width) after the first `below` blocks, of normalised pixels (n, 3, size, size)."""
        x = self.network.norm_pre(self.network._pos_embed(self.network.patch_embed(x)))
        for block in self._blocks(0, below):
            x = block(x)
        return x

    def upper(self, x: Tensor, below: int, keep: Tensor | None = None) -> Tensor:
        """Tokens after the blocks from `below` on and the last norm, of tokens (n, T, width).

        `keep` (n, m) int64 are the patches of each image that stay, counted from 0 after the prefix and in the order
        in which they come out, (n, prefix + m, width); the others are dropped before the first of these blocks.
        """
        if keep is not None:
            patches = x[:, self.prefix :].gather(1, keep.unsqueeze(-1).expand(-1, -1, x.shape[-1]))
            x = torch.cat([x[:, : self.prefix], patches], 1)
        for block in self._blocks(below, self.depth):
            x = block(x)
        out: Tensor = self.network.norm(x)
        return out

    def layers(self) -> list[list[nn.Parameter]]:
        """The embedding of patches, each block, and the last norm with the last block."""
        blocks = [list(block.parameters()) for block in self.network.blocks]
        blocks[-1] += self.network.norm.parameters()
        inside = {id(p) for block in blocks for p in block}
        return [[p for p in self.network.parameters() if id(p) not in inside], *blocks]

    def _blocks(self, first: int, end: int) -> list[Any]:
        """Blocks from `first` up to before `end`. Raises TrainingError for a cut that the network does not have."""
        if not 0 <= first <= end <= self.depth:
            cut = first if end == self.depth else end
            raise TrainingError(f"there are {self.depth} blocks to cut at, not {cut}; change cache.below of the recipe")
        return [self.network.blocks[number] for number in range(first, end)]


class Uncut(Backbone):
    """Any other network of timm, and the small CNN: what its ``forward_features`` gives."""

    def __init__(self, network: Any, features: Tensor, name: str) -> None:
        """`features` are those of one image; only their shape is looked at. Raises TrainingError for odd ones."""
        super().__init__()
        self.network = network
        self.mean, self.std = _statistics(network)
        self.channels_last = features.ndim == 4 and getattr(network, "output_fmt", "NCHW") == "NHWC"
        if features.ndim == 4:
            _, self.width, down, across = (features.permute(0, 3, 1, 2) if self.channels_last else features).shape
            self.kind, self.grid = "map", (down, across)
        elif features.ndim == 3:
            _, tokens, self.width = features.shape
            self.kind, self.class_token = "tokens", getattr(network, "cls_token", None) is not None
            self.prefix = int(getattr(network, "num_prefix_tokens", self.class_token))
            if tokens == self.prefix:  # PiT gives its class token alone: it is all the patches there are
                self.prefix, self.class_token = 0, False
            side = round((tokens - self.prefix) ** 0.5)
            self.grid = (side, side) if side * side == tokens - self.prefix else (0, 0)
        else:
            shape = " x ".join(map(str, features.shape[1:]))
            raise TrainingError(
                f"{name} gives {shape} numbers an image, neither tokens nor a map; take another backbone"
            )

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (n, T, width) or a map (n, width, h, w) of normalised pixels (n, 3, size, size)."""
        features: Tensor = self.network.forward_features(x)
        return features.permute(0, 3, 1, 2) if self.channels_last else features

    def layers(self) -> list[list[nn.Parameter]]:
        """Parameters in the order in which the network defines them, block by block, a norm with what it follows."""
        layers: list[list[nn.Parameter]] = []
        seen: set[nn.Parameter] = set()
        for block in _blocks_of(self.network):
            new = [p for p in block if p not in seen]
            seen.update(new)
            if layers and all(p.ndim <= 1 for p in new):
                layers[-1] += new
            else:
                layers.append(new)
        return layers


class SmallCnn(nn.Module):
    """Three times a 3 x 3 convolution, batch norm, ReLU and 2 x 2 maximum: a network to be trained from scratch."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential()
        for before, width in zip((3, *CNN_WIDTHS), CNN_WIDTHS, strict=False):
            convolution = nn.Conv2d(before, width, 3, padding=1, bias=False)
            self.blocks.append(nn.Sequential(convolution, nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(2)))

    def forward_features(self, x: Tensor) -> Tensor:
        """A map (n, 128, size // 8, size // 8) of normalised pixels (n, 3, size, size)."""
        out: Tensor = self.blocks(x)
        return out


def load_backbone(recipe: Recipe, weights: bool = True) -> Backbone:
    """The backbone that a recipe names, in training mode, without what only its classifier needs.

    Without `weights` its architecture alone, with random numbers for a checkpoint to fill. `drop_path` is given to
    networks that know it. Raises TrainingError for a name that timm does not know, for an input size that the network
    does not take, and for weights that are not there or do not fit.
    """
    family, _, name = recipe.backbone.partition(":")
    if recipe.backbone != "cnn:3" and (family != "timm" or not name):
        raise TrainingError(f"there is no backbone {recipe.backbone!r}; write timm:NAME or cnn:3")
    if weights and recipe.weights not in ("hub", "none") and not recipe.weights.endswith(".safetensors"):
        raise TrainingError(f"weights are {recipe.weights!r}; write hub, none, or the path of a .safetensors file")
    network = SmallCnn() if family == "cnn" else _built(name, recipe)
    if weights and recipe.weights == "hub":
        network = _from_hub(name, recipe)
    features, unused = _traced(network, recipe)
    for part in unused:
        setattr(network, part, nn.Identity())
    if weights and recipe.weights not in ("hub", "none"):
        classifiers = getattr(network, "pretrained_cfg", {}).get("classifier") or ()
        spare = (*unused, *([classifiers] if isinstance(classifiers, str) else classifiers))
        fill(network, read_weights(Path(recipe.weights)), spare, f"{recipe.weights} does not fit {recipe.backbone}")
    return Transformer(network) if _can_be_cut(network) else Uncut(network, features, recipe.backbone)


def normalised(pixels: Tensor, backbone: Fed) -> Tensor:
    """Pixels (n, size, size, 3) uint8 as the backbone wants them, (n, 3, size, size) float32.

    They keep their order in memory, channels last: convolutions follow their input and are quickest so.
    """
    mean, std = (torch.tensor(v, device=pixels.device).view(1, 3, 1, 1) for v in (backbone.mean, backbone.std))
    scaled: Tensor = (pixels.permute(0, 3, 1, 2).float() / 255 - mean) / std
    return scaled


def _timm() -> Any:
    try:
        import timm
    except ImportError as error:
        raise TrainingError("fine-tuning needs torch and timm; run `pip install 'simsearch[torch]'`") from error
    except RuntimeError as error:  # what torchvision raises where its operators were compiled for another torch
        raise TrainingError(
            f"timm cannot be imported: {_said(error)}; install the torchvision made for torch {torch.__version__}"
        ) from error
    return timm


def _built(name: str, recipe: Recipe, pretrained: bool = False) -> Any:
    """timm's network of this name at the recipe's input size. Raises TrainingError."""
    timm = _timm()
    if not timm.is_model(name):
        raise TrainingError(f"timm has no backbone {name!r}{_nearest(name, timm.list_models())}")
    try:
        config = timm.models.get_pretrained_cfg(name)
    except RuntimeError as error:  # the architecture is known, what stands after the dot is not
        raise TrainingError(f"timm has no weights {name!r}{_nearest(name, timm.list_pretrained())}") from error
    options: dict[str, Any] = {"num_classes": 0, "pretrained": pretrained}
    if recipe.drop_path:
        options["drop_path_rate"] = recipe.drop_path
    if config is not None and config.fixed_input_size:
        options["img_size"] = recipe.input_size
    try:
        try:
            network = timm.create_model(name, **options)
        except TypeError as error:
            if "drop_path_rate" not in str(error):
                raise
            network = timm.create_model(name, **{k: v for k, v in options.items() if k != "drop_path_rate"})
    except (AssertionError, ValueError, RuntimeError, TypeError) as error:
        if pretrained:
            raise
        raise _bad_size(recipe, error) from error
    if hasattr(network, "patch_embed") and hasattr(network.patch_embed, "feat_ratio"):
        _check_patches(network, recipe)
    return network


def _from_hub(name: str, recipe: Recipe) -> Any:
    """The network with the weights that timm downloads. Raises TrainingError that says how to do without."""
    if recipe.backbone == "cnn:3":
        raise TrainingError("cnn:3 has no weights on the hub; write weights: none, or the path of a .safetensors file")
    timm = _timm()
    config = timm.models.get_pretrained_cfg(name)
    if config is None or not config.has_weights:
        nearest = _nearest(name, timm.list_pretrained())
        raise TrainingError(f"timm has no weights for {name!r}{nearest}, or write weights: none")
    try:
        return _built(name, recipe, pretrained=True)
    except Exception as error:  # what a download raises differs with the version of the hub's client
        wanted = config.hf_hub_id or config.url
        raise TrainingError(
            f"the weights of timm:{name} ({wanted}) cannot be had: {_said(error)}; go online, or download them "
            "elsewhere and give the .safetensors file, with --weights FILE or as `weights` of the recipe"
        ) from error


def _traced(network: Any, recipe: Recipe) -> tuple[Tensor, list[str]]:
    """Features of one image as shapes without numbers, and the parts of the network that features do not need.

    Raises TrainingError for an input size that the network does not take.
    """
    asked = _FeaturesOnly(network).eval()  # batch norm would refuse one image whose map is one place
    with torch.inference_mode(False), torch.enable_grad():  # whatever the caller has switched off
        shapes = {name: torch.empty_like(p, device="meta").requires_grad_() for name, p in asked.named_parameters()}
        buffers = {name: b.to("meta") for name, b in asked.named_buffers()}
        image = torch.zeros(1, 3, recipe.input_size, recipe.input_size, device="meta")
        try:
            features = functional_call(asked, shapes | buffers, (image,))
        except (AssertionError, ValueError, RuntimeError, TypeError, IndexError) as error:
            raise _bad_size(recipe, error) from error
        finally:
            network.train()
        if not isinstance(features, Tensor):
            raise TrainingError(f"{recipe.backbone} gives several features, not tokens or a map; take another backbone")
        reached = torch.autograd.grad(features.sum(), list(shapes.values()), allow_unused=True)
    used = {name.split(".")[1] for name, gradient in zip(shapes, reached, strict=True) if gradient is not None}
    return features.detach(), [
        part for part, module in network.named_children() if part not in used and any(True for _ in module.parameters())
    ]


class _FeaturesOnly(nn.Module):
    """A network whose ``forward`` is what it calls ``forward_features``."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Any:
        return self.network.forward_features(x)


def _can_be_cut(network: Any) -> bool:
    """Whether it is a vision transformer whose features are its blocks, one after the other."""
    if isinstance(network, SmallCnn):
        return False
    from timm.models.vision_transformer import VisionTransformer

    own = VisionTransformer.forward_features
    return isinstance(network, VisionTransformer) and type(network).forward_features is own


def _check_patches(network: Any, recipe: Recipe) -> None:
    """Raises TrainingError for an input size into which patches do not go evenly."""
    patch, size = network.patch_embed.feat_ratio(), recipe.input_size
    if size % patch or size < patch:
        near = [n for n in (size // patch * patch, (size // patch + 1) * patch) if n]
        raise TrainingError(
            f"{recipe.backbone} cuts images into patches of {patch} pixels, into which input_size {size} does not "
            f"divide; take {' or '.join(map(str, near))}"
        )


def _bad_size(recipe: Recipe, error: Exception) -> TrainingError:
    size = recipe.input_size
    return TrainingError(
        f"{recipe.backbone} takes no images of {size} x {size} pixels: {_said(error)}; change input_size of the recipe"
    )


def _nearest(name: str, known: list[str]) -> str:
    near = get_close_matches(name, known, 3, 0.5)
    return f"; the nearest are {', '.join(near)}" if near else "; timm.list_models() tells what there is"


def _said(error: Exception) -> str:
    """The first line of what an error says, without the stop that would end our sentence."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(". ")


def _blocks_of(module: nn.Module) -> Iterator[list[nn.Parameter]]:
    """Its own parameters, then those of each child; children that are rows of blocks are gone into."""
    own = list(module.parameters(recurse=False))
    if own:
        yield own
    for child in module.children():
        if isinstance(child, nn.Sequential | nn.ModuleList | nn.ModuleDict) or hasattr(child, "blocks"):
            yield from _blocks_of(child)
        elif inside := list(child.parameters()):
            yield inside


def _statistics(network: Any) -> tuple[Channels, Channels]:
    config = getattr(network, "pretrained_cfg", {})
    return tuple(config.get("mean", IMAGENET_MEAN)), tuple(config.get("std", IMAGENET_STD))
