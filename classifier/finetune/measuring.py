"""How good a network is while it learns, and how fast."""

from __future__ import annotations

import time
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from simsearch.classifier.finetune.batches import FromFiles, Views, plain_order
from simsearch.classifier.finetune.device import Autocast
from simsearch.classifier.finetune.held_out import Places, label_figures, likeness_figures
from simsearch.classifier.finetune.losses import Objective
from simsearch.classifier.finetune.network import Network
from simsearch.classifier.finetune.works import Works
from simsearch.watch import Watch

EMBED_BATCH = 64


@torch.inference_mode()
def embedded(network: Network, views: Views, works: Places, autocast: Autocast, watch: Watch) -> dict[str, Tensor]:
    """Each part (m, dim) float32 of the works (m,) as they are; leaves the network in eval mode."""
    network.eval()
    out: dict[str, list[Tensor]] = {part.name: [] for part in network.recipe.parts}
    order, below, backbone = plain_order(works, EMBED_BATCH), views.below, network.backbone
    for done, (view,) in enumerate(views.batches(order), 1):
        with autocast():
            parts = network.from_features(backbone.upper(view, below) if below else backbone(view))
        for name, rows in parts.items():
            out[name].append(rows.float())
        watch("measuring", done, len(order))
    return {name: torch.cat(rows) for name, rows in out.items()}


@torch.inference_mode()
def figures_of(
    network: Network,
    objective: Objective,
    works: Works,
    queries: Places,
    query_parts: Mapping[str, Tensor],
    gallery: Places,
    gallery_parts: Mapping[str, Tensor],
    sizes: Mapping[str, Mapping[str, int]],
) -> dict[str, float]:
    """What each task says of works held out, and how many of their neighbours in the gallery share their labels.

    `sizes` are the classes of each task with their works.
    """
    rows, others = (network.joined(parts).numpy(force=True) for parts in (query_parts, gallery_parts))
    tasks = network.recipe.tasks
    kinds = list(tasks) or [term.label for term in network.recipe.contrast if term.label]
    figures = likeness_figures(works, queries, rows, gallery, others, kinds)
    for kind, layer in objective.layers.items():
        said = layer(query_parts[tasks[kind].part]).argmax(1).numpy(force=True)
        names = np.array(list(sizes[kind]))
        figures |= label_figures(kind, works.labels[kind][queries], names[said], sizes[kind])
    return figures


@torch.inference_mode()
def images_per_s(network: Network, files: FromFiles, works: Places) -> float:
    """Pictures embedded a second, decoding included."""
    began = time.monotonic()
    for (view,) in files.batches(plain_order(works, EMBED_BATCH)):
        network.embed(view)
    return len(works) / max(1e-9, time.monotonic() - began)
