"""Weights in ONNX files: those of the model zoo's ``bvlcalexnet``, ``caffenet`` and ``zfnet512``.

All three came from Caffe: their colours are B, G, R, with the mean subtracted from 0–255. Widths,
paddings, and whether pooling or normalisation comes first, are read from the file's graph.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.core.nets import known
from pipeline.core.nets.old import Normalisation, Variant
from pipeline.data.weights.state_dict import StoredWeights
from pipeline.errors import RequestError

# what else there may be reshapes, serves training, or ranks
_SILENT = {"Constant", "Dropout", "Flatten", "Identity", "Reshape", "Softmax"}


@dataclass(frozen=True)
class _Step:
    """A node of the graph, with its arrays by part: weight and bias."""

    kind: str
    attributes: dict[str, Any]
    arrays: dict[str, Tensor]

    def __str__(self) -> str:
        match self.kind:
            case "Conv":
                rows, columns = self.arrays["weight"].shape[2:]
                return _convolution(
                    (rows, columns),
                    self.attributes.get("strides", [1, 1]),
                    self.attributes.get("pads", [0, 0, 0, 0]),
                    self.attributes.get("group", 1),
                )
            case "MaxPool":
                pads = self.attributes.get("pads", [0, 0, 0, 0])
                sizes = (self.attributes["kernel_shape"], self.attributes.get("strides", [1, 1]))
                return _pool(*sizes, pads[:2] if pads != _REACHING else [0, 0])
            case _:
                return _NAMES.get(self.kind, self.kind)


_REACHING = [0, 0, 1, 1]
"""The pads of a pool whose last window reaches over the border, as with ``ceil_mode``."""

_NAMES = {"LRN": "a local response normalisation", "Gemm": "a fully connected layer"}


def read(data: bytes, name: str) -> StoredWeights:
    """The weights of a net in an ONNX file.

    Args:
        data: the file's content.
        name: of the net.

    Raises:
        RequestError: onnx is not installed.
        ValueError: it is no such file, or has other layers.
    """
    steps = _parse(data)
    state = _state(steps)
    variant = _variant(steps, known.VARIANTS[name])
    _require_same(steps, name, variant)
    return StoredWeights(
        state, variant.as_wide_as(state), known.preprocessing(name), colour_order="bgr"
    )


def _parse(data: bytes) -> list[_Step]:
    """The nodes in the order of the graph."""
    try:
        import onnx
    except ImportError as error:
        raise RequestError(
            "Weights in ONNX files are read by onnx, which is not installed: "
            "pip install 'deconv-atlas[formats]'."
        ) from error
    try:
        graph = onnx.load_model_from_string(data).graph
    except Exception as error:  # protobuf's, which is no dependency of this project's own
        raise ValueError(f"it is no ONNX file ({error})") from error
    stored = {one.name: one for one in graph.initializer}
    steps = []
    for node in graph.node:
        if node.op_type in _SILENT:
            continue
        parts = zip(("weight", "bias"), node.input[1:], strict=False)
        arrays = {
            part: torch.from_numpy(np.array(onnx.numpy_helper.to_array(stored[key]), np.float32))
            for part, key in parts
            if key in stored
        }
        attributes = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
        if node.op_type in ("Conv", "Gemm") and "weight" not in arrays:
            raise ValueError(f"the weights of its {node.output[0]} are not in it")
        steps.append(_Step(node.op_type, attributes, arrays))
    return steps


def _state(steps: Sequence[_Step]) -> dict[str, Tensor]:
    """The weights by the net's own names."""
    state = {}
    for kind, name, first in (("Conv", "conv", 1), ("Gemm", "fc", 6)):
        layers = [step for step in steps if step.kind == kind]
        for number, layer in enumerate(layers, first):
            for part, tensor in layer.arrays.items():
                turn = part == "weight" and kind == "Gemm" and not layer.attributes.get("transB")
                state[f"{name}{number}.{part}"] = tensor.T.contiguous() if turn else tensor
    return state


def _variant(steps: Sequence[_Step], usual: Variant) -> Variant:
    """All but the widths."""
    kinds = [step.kind for step in steps]
    pads = [step.attributes.get("pads", [0]) for step in steps if step.kind == "Conv"]
    norms = [step.attributes for step in steps if step.kind == "LRN"]
    pools = [step.attributes for step in steps if step.kind == "MaxPool"]
    if len(norms) != 2 or len(pools) != 3 or not pads:
        raise ValueError(
            f"it has {len(pads)} convolutions, {len(norms)} local response normalisations and "
            f"{len(pools)} max pools, the net has 5, 2 and 3"
        )
    if norms[0] != norms[1]:
        raise ValueError(f"its two normalisations differ: {norms[0]} and {norms[1]}")
    one, two, three = (
        bool(pool.get("ceil_mode")) or pool.get("pads") == _REACHING for pool in pools
    )
    own = Normalisation(
        norms[0]["size"],
        norms[0].get("alpha", 1e-4),
        norms[0].get("beta", 0.75),
        norms[0].get("bias", 1.0),
    )
    pool_first = kinds.index("MaxPool") < kinds.index("LRN")
    return replace(
        usual, padding=pads[0][0], normalisation=own, pool_first=pool_first, ceil=(one, two, three)
    )


def _require_same(steps: Sequence[_Step], name: str, variant: Variant) -> None:
    """Compare the graph with the net, step by step.

    Raises:
        ValueError: naming the first one that differs.
    """
    with torch.device("meta"):  # shapes alone
        expected = list(_steps_of(known.build(name, variant=variant)))
    layer = "the input"
    for number, (called, own) in enumerate([*expected, ("", "its end")]):
        found = str(steps[number]) if number < len(steps) else "its end"
        if found != own:
            where = called or f"what follows {layer}"
            raise ValueError(f"{where} is {found}, in the net {own}")
        layer = called or layer
    if len(steps) > len(expected):
        raise ValueError(f"what follows {layer} is {steps[len(expected)]}, in the net its end")


def _steps_of(net: nn.Module) -> Iterator[tuple[str, str]]:
    """Each step of the net in the order of the forward pass: its layer if it is one, what it is."""
    for path, module in net.named_modules():
        match module:
            case nn.Conv2d():
                assert not isinstance(module.padding, str)
                pads = [*module.padding, *module.padding]
                yield path, _convolution(module.kernel_size, module.stride, pads, module.groups)
                yield "", "Relu"
            case nn.MaxPool2d():
                yield "", _pool([3, 3], [2, 2], [0, 0])
            case nn.LocalResponseNorm():
                yield "", _NAMES["LRN"]
            case nn.Linear():
                yield path, _NAMES["Gemm"]
                if path != "fc8":
                    yield "", "Relu"


def _convolution(
    size: Sequence[int], stride: Sequence[int], pads: Sequence[int], groups: int
) -> str:
    padding = pads[0] if len(set(pads)) == 1 else f"{list(pads)}"
    parts = [f"a {_by(size)} convolution of stride {_by(stride)}", f"padding {padding}"]
    return ", ".join(parts) + (f", in {groups} groups" if groups > 1 else "")


def _pool(size: Sequence[int], stride: Sequence[int], pads: Sequence[int]) -> str:
    padding = f", padding {_by(pads)}" if any(pads) else ""
    return f"a {_by(size)} max pool of stride {_by(stride)}{padding}"


def _by(sizes: Sequence[int]) -> str:
    return "×".join(map(str, sizes))
