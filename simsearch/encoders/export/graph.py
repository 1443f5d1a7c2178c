"""A network of torch as an ONNX graph, and the ways in which its weights are kept in the file.

Weights kept as float16 or int8 are brought back to float32 by nodes at the head of the graph. onnxruntime computes what
depends on no input once, when it loads the file, so that the network runs as fast as one kept in float32. It does so
with Cast and Mul; DequantizeLinear, which says the same in one node, it leaves for every run.
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from simsearch.errors import TrainingError

if TYPE_CHECKING:
    import onnx

Storage = Literal["float32", "float16", "int8"]
STORAGES: tuple[Storage, ...] = ("float32", "float16", "int8")
OPSET = 20
"""The first with Gelu, which onnxruntime (1.17 and later) computes in one step with the bias before it."""
INPUT, OUTPUT = "pixels", "embedding"
TEXT_INPUT = "input_ids"
UNTAKEN = "simsearch.embedding"
"""What the output is called while torch names the values within: a text tower's first one would be `embedding` too."""
SMALL = 1024
"""Tensors of fewer numbers stay float32: they take no room, and a rounded factor of all attention shifts everything."""
TABLE = 1_000_000
"""Tables of so many numbers are left small in memory too."""
LEVELS = 127
GROUP = 64
"""Weights of one output channel that share a scale, at most.

With one scale for a whole channel the embeddings of DINOv2 ViT-S/14 kept a cosine of .995 or more, .9984 on average;
with groups, and the first layer in float16, .999 and .9995.
"""
FEWEST = 16
"""Where weights do not go evenly into groups of this many or more, a channel is one group."""
FLOAT16_MAX = float(np.finfo(np.float16).max)


def check_onnx() -> None:
    """Raises TrainingError where what writes ONNX is not installed."""
    missing = [name for name in ("onnx", "onnxscript") if find_spec(name) is None]
    if missing:
        raise TrainingError(f"exporting needs {' and '.join(missing)}; run `pip install 'simsearch[torch]'`")


def as_graph(
    tower: nn.Module, example: Tensor, who: str, name: str = INPUT, *, way_out: str = "take another"
) -> onnx.ModelProto:
    """A network as a graph from `name`, shaped and typed as `example` (n, ...), to `embedding` (n, dim), for any n.

    The same network gives the same bytes. Raises TrainingError where torch cannot write `who` down, with a way out.
    """
    check_onnx()
    with warnings.catch_warnings():
        # torch's own use of a name that it deprecates
        warnings.filterwarnings("ignore", message=".*LeafSpec", category=FutureWarning)
        # a hook that catches what a layer gives keeps nothing of it
        warnings.filterwarnings("ignore", message=".*side effects happened in the model.forward", category=UserWarning)
        try:
            program = torch.onnx.export(
                tower.eval(),
                (example,),
                dynamo=True,
                verbose=False,
                input_names=[name],
                output_names=[UNTAKEN],
                dynamic_shapes=({0: torch.export.Dim("n")},),
                opset_version=OPSET,
            )
        except Exception as error:  # one class for each stage of the exporter
            said = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise TrainingError(f"torch cannot write {who} as ONNX ({said}); {way_out}") from error
    assert program is not None
    model = program.model_proto
    graph = model.graph
    # stack traces of every node: a tenth of a small file, with the paths of this machine
    for part in (model, graph, *graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        part.ClearField("metadata_props")
    graph.ClearField("value_info")
    _rename(graph, {OUTPUT: f"{OUTPUT}.inner", UNTAKEN: OUTPUT})
    return model


def _rename(graph: Any, names: dict[str, str]) -> None:
    """Gives values of a graph other names, all at once."""
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    for value in (*graph.input, *graph.output, *graph.initializer):
        value.name = names.get(value.name, value.name)


def to_bytes(model: onnx.ModelProto, storage: Storage = "float32") -> bytes:
    """The graph as a file, its weights kept as `storage` says; the graph itself is changed.

    float16: every tensor that is not small. int8: the weights of matrix products and convolutions, symmetric, with a
    float32 scale for each group of weights that go into one output channel; the first layer and the rest as float16.
    """
    import onnx

    if storage != "float32":
        heads, tensors = [], []
        axes = _weights(model.graph) if storage == "int8" else {}
        tables = _tables(model.graph)
        for tensor in model.graph.initializer:
            values = onnx.numpy_helper.to_array(tensor)
            kept: Kept | None = None
            if values.dtype == np.float32 and values.size >= SMALL:
                axis = axes.get(tensor.name)
                kept = _half(tensor.name, values) if axis is None else _bytes(tensor.name, values, axis)
            nodes, stored = kept or ([], [tensor])
            if kept and tensor.name in tables:
                nodes = []
                _cast_late(tables[tensor.name], stored[0].name)
            heads += nodes
            tensors += stored
        nodes = [*heads, *_with_casts(model.graph.node)]
        del model.graph.node[:], model.graph.initializer[:]
        model.graph.node.extend(nodes)
        model.graph.initializer.extend(tensors)
    onnx.checker.check_model(model)
    data: bytes = model.SerializeToString(deterministic=True)
    return data


Kept = tuple[list[Any], list[Any]]
"""Nodes at the head of the graph, and the tensors that they read."""


def _half(name: str, values: npt.NDArray[np.float32]) -> Kept | None:
    from onnx import TensorProto, helper, numpy_helper

    if values.size and not np.abs(values).max() < FLOAT16_MAX:
        return None
    stored = numpy_helper.from_array(values.astype(np.float16), f"{name}.float16")
    return [helper.make_node("Cast", [stored.name], [name], to=TensorProto.FLOAT)], [stored]


def _bytes(name: str, values: npt.NDArray[np.float32], axis: int) -> Kept | None:
    """Weights whose output channels lie along an axis, the first or the last, in groups of the others."""
    from onnx import TensorProto, helper, numpy_helper

    if not np.isfinite(values).all():
        return None
    channels = values.shape[axis]
    inputs = values.size // channels
    size = max((n for n in range(FEWEST, GROUP + 1) if inputs % n == 0), default=inputs)
    shape = (channels, inputs // size, size) if axis == 0 else (inputs // size, size, channels)
    grouped = values.reshape(shape)
    scale = np.abs(grouped).max(axis=2 if axis == 0 else 1, keepdims=True) / np.float32(LEVELS)
    scale[scale == 0] = 1  # a group of zeros
    held = (("int8", np.rint(grouped / scale).astype(np.int8)), ("scale", scale), ("shape", np.array(values.shape)))
    nodes = [
        helper.make_node("Cast", [f"{name}.int8"], [f"{name}.levels"], to=TensorProto.FLOAT),
        helper.make_node("Mul", [f"{name}.levels", f"{name}.scale"], [f"{name}.grouped"]),
        helper.make_node("Reshape", [f"{name}.grouped", f"{name}.shape"], [name]),
    ]
    return nodes, [numpy_helper.from_array(array, f"{name}.{what}") for what, array in held]


def _weights(graph: Any) -> dict[str, int]:
    """Name of each tensor that is nothing but the weights of products, to the axis of its output channels.

    Without those of the first layer, whose errors go through all the others.
    """
    axes: dict[str, set[int | None]] = defaultdict(set)
    ndim = {tensor.name: len(tensor.dims) for tensor in graph.initializer}
    for node in graph.node:
        for place, name in enumerate(node.input):
            if name in ndim:
                inner = place == 1 and INPUT not in node.input  # the first layer of pictures; a text's is a Gather
                axes[name].add(_output_axis(node, ndim[name]) if inner else None)
    return {name: axis for name, found in axes.items() if len(found) == 1 and (axis := next(iter(found))) is not None}


def _output_axis(node: Any, ndim: int) -> int | None:
    if node.op_type == "Conv":
        return 0
    if node.op_type == "MatMul" and ndim == 2:
        return 1
    if node.op_type == "Gemm":
        return 0 if any(a.name == "transB" and a.i for a in node.attribute) else 1
    return None


LATE = ".late"


def _tables(graph: Any) -> dict[str, list[Any]]:
    """Name of each large table that rows are only looked up in, such as that of the tokens, to the nodes that do it.

    A text looks up a few dozen rows of fifty thousand: they are made float32 after that, not all when the file loads.
    """
    large = {tensor.name for tensor in graph.initializer if int(np.prod(tensor.dims)) >= TABLE}
    users: dict[str, list[Any]] = defaultdict(list)
    for node in graph.node:
        for name in large.intersection(node.input):
            users[name].append(node)
    return {
        name: nodes
        for name, nodes in users.items()
        if all(node.op_type == "Gather" and node.input[1] != name for node in nodes)
    }


def _cast_late(nodes: list[Any], name: str) -> None:
    """Lets nodes look rows up in the stored table, and marks what they give."""
    for node in nodes:
        node.input[0] = name
        node.output[0] += LATE


def _with_casts(nodes: Any) -> list[Any]:
    """The nodes, those that were marked each followed by one that makes float32 of what it gives."""
    from onnx import TensorProto, helper

    out = []
    for node in nodes:
        out.append(node)
        if node.op_type == "Gather" and node.output[0].endswith(LATE):
            late = node.output[0]
            out.append(helper.make_node("Cast", [late], [late.removesuffix(LATE)], to=TensorProto.FLOAT))
    return out
