"""Weights in ONNX files: those of the model zoo's ``bvlcalexnet``, ``caffenet`` and ``zfnet512``.

All three came from Caffe: their colours are B, G, R, with the mean subtracted from 0–255. Widths,
paddings, and whether pooling or normalisation comes first, are read from the file's graph.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.core.nets import known
from pipeline.core.nets.old import Normalisation, Variant
from pipeline.data.weights.files import brief, formats_library
from pipeline.data.weights.state_dict import StoredWeights

# what else there may be reshapes, serves training, or ranks
_SILENT = {"Constant", "Dropout", "Flatten", "Identity", "Reshape", "Softmax"}
_NAMES = {
    "Conv": "convolution",
    "MaxPool": "max pool",
    "LRN": "a local response normalisation",
    "Gemm": "a fully connected layer",
}
_UNPADDED = [0, 0, 0, 0]
_REACHING = [0, 0, 1, 1]  # a pool's last window reaches over the border, as with `ceil_mode`


@dataclass(frozen=True)
class _Step:
    """What a node of the graph or a module of the net does; of a node also what it holds."""

    kind: str  # as ONNX calls it
    kernel: tuple[int, ...] = ()  # rows, columns
    stride: tuple[int, ...] = ()
    padding: tuple[int, ...] = ()  # top, left, bottom, right
    groups: int = 1
    attributes: dict[str, Any] = field(default_factory=dict, compare=False)
    arrays: dict[str, Tensor] = field(default_factory=dict, compare=False)  # weight, bias

    def __str__(self) -> str:
        name = _NAMES.get(self.kind, self.kind)
        if not self.kernel:
            return name
        kernel, stride = ("×".join(map(str, sizes)) for sizes in (self.kernel, self.stride))
        padding = self.padding[0] if len(set(self.padding)) == 1 else list(self.padding)
        groups = f", in {self.groups} groups" if self.groups > 1 else ""
        return f"a {kernel} {name} of stride {stride}, padding {padding}{groups}"


_END = _Step("its end")


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
    onnx = formats_library("onnx", "Weights in ONNX files")
    try:
        graph = onnx.load_model_from_string(data).graph
    except Exception as error:  # protobuf's, which is no dependency of this project's own
        raise ValueError(f"it is no ONNX file ({brief(error)})") from error
    stored = {initialiser.name: initialiser for initialiser in graph.initializer}
    _require_inside(graph.initializer)
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
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        if node.op_type in ("Conv", "Gemm") and "weight" not in arrays:
            raise ValueError(f"the weights of its {node.output[0]} are not in it")
        steps.append(_step(node.op_type, attributes, arrays))
    return steps


def _require_inside(initialisers: Iterable[Any]) -> None:
    """Refuse weights in a file of their own: only the one file is read, from wherever it is.

    Raises:
        ValueError: saying where they are.
    """
    for tensor in initialisers:
        if tensor.data_location == tensor.EXTERNAL:
            places = [entry.value for entry in tensor.external_data if entry.key == "location"]
            raise ValueError(
                f"its weights are in {', '.join(places) or 'another file'} beside it; save them "
                "inside, onnx.save_model(onnx.load(FILE), 'whole.onnx')"
            )


def _step(kind: str, attributes: dict[str, Any], arrays: dict[str, Tensor]) -> _Step:
    if kind not in ("Conv", "MaxPool"):
        return _Step(kind, attributes=attributes, arrays=arrays)
    kernel = arrays["weight"].shape[2:] if kind == "Conv" else attributes["kernel_shape"]
    pads = attributes.get("pads", _UNPADDED)
    if kind == "MaxPool" and pads == _REACHING:
        pads = _UNPADDED
    stride, groups = attributes.get("strides", (1, 1)), attributes.get("group", 1)
    return _Step(kind, tuple(kernel), tuple(stride), tuple(pads), groups, attributes, arrays)


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
    convolutions = [step for step in steps if step.kind == "Conv"]
    norms = [step.attributes for step in steps if step.kind == "LRN"]
    pools = [step.attributes for step in steps if step.kind == "MaxPool"]
    if len(norms) != 2 or len(pools) != 3 or not convolutions:
        raise ValueError(
            f"it has {len(convolutions)} convolutions, {len(norms)} local response "
            f"normalisations and {len(pools)} max pools, the net has 5, 2 and 3"
        )
    if norms[0] != norms[1]:
        raise ValueError(f"its two normalisations differ: {norms[0]} and {norms[1]}")
    norm = {"alpha": 1e-4, "beta": 0.75, "bias": 1.0} | norms[0]
    first, second, third = (
        bool(pool.get("ceil_mode")) or pool.get("pads") == _REACHING for pool in pools
    )
    return replace(
        usual,
        padding=convolutions[0].padding[0],
        normalisation=Normalisation(norm["size"], norm["alpha"], norm["beta"], norm["bias"]),
        pool_first=kinds.index("MaxPool") < kinds.index("LRN"),
        ceil=(first, second, third),
    )


def _require_same(steps: Sequence[_Step], name: str, variant: Variant) -> None:
    """Compare the graph with the net, step by step.

    Raises:
        ValueError: naming the first one that differs.
    """
    with torch.device("meta"):  # shapes alone
        expected = [*_steps_of(known.build(name, variant=variant)), ("", _END)]
    previous = "the input"
    for step, (layer, own) in zip([*steps, _END], expected, strict=False):
        if step != own:
            raise ValueError(f"{layer or f'what follows {previous}'} is {step}, in the net {own}")
        previous = layer or previous


def _steps_of(net: nn.Module) -> Iterator[tuple[str, _Step]]:
    """Each step of the net in the order of the forward pass: its layer if it is one, what it is."""
    for path, module in net.named_modules():
        match module:
            case nn.Conv2d():
                assert not isinstance(module.padding, str)
                pads = (*module.padding, *module.padding)
                yield path, _Step("Conv", module.kernel_size, module.stride, pads, module.groups)
                yield "", _Step("Relu")
            case nn.MaxPool2d():
                yield "", _Step("MaxPool", (3, 3), (2, 2), tuple(_UNPADDED))
            case nn.LocalResponseNorm():
                yield "", _Step("LRN")
            case nn.Linear():
                yield path, _Step("Gemm")
                if path != "fc8":
                    yield "", _Step("Relu")
