"""Weights files as others published them, written by their formats' own libraries.

The ONNX graphs follow the model zoo's bvlcalexnet-9, caffenet-9 and zfnet512-9 name by name: from
Caffe, so initialisers are among the inputs, and a reshape that counts for one image. The HDF5
files follow convnets-keras' alexnet_weights.h5, written by Keras 1. All of them narrower.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass, field

import h5py
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Zoo:
    """One of the zoo's nets, its sizes but for the widths.

    Convolutions are (side, stride, padding, groups); pools reach over the border or not.
    """

    convolutions: Sequence[tuple[int, int, int, int]]
    pool_first: bool
    reaching: tuple[bool, bool, bool]
    prefix: str = ""
    maps: tuple[int, ...] = (12, 16, 20, 16, 12)
    hidden: tuple[int, int] = (10, 8)
    classes: int = 6
    side: int = 224
    normalisation: dict[str, float] = field(
        default_factory=lambda: {"size": 5, "alpha": 1e-4, "beta": 0.75, "bias": 1.0}
    )


_ALEXNET = ((11, 4, 0, 1), (5, 1, 2, 2), (3, 1, 1, 1), (3, 1, 1, 2), (3, 1, 1, 2))
BVLC_ALEXNET = Zoo(_ALEXNET, pool_first=False, reaching=(False, False, True))
CAFFENET = Zoo(_ALEXNET, pool_first=True, reaching=(False, False, True))
ZFNET_512 = Zoo(
    ((7, 2, 0, 1), (5, 2, 0, 1), (3, 1, 1, 1), (3, 1, 1, 1), (3, 1, 1, 1)),
    pool_first=False,
    reaching=(False, False, True),
    prefix="gpu_0/",
    maps=(12, 16, 24, 48, 24),
    hidden=(10, 7),
)


def weights(net: Zoo, seed: int = 0) -> dict[str, Array]:
    """Kernels, matrices and biases under the zoo's names, loud enough for normalisation."""
    rng = np.random.default_rng(seed)
    made = {}
    below = 3
    for number, (width, (side, _, _, groups)) in enumerate(
        zip(net.maps, net.convolutions, strict=True), 1
    ):
        shape = (width, below // groups, side, side)
        scale = 0.2 if number == 1 else (2 / np.prod(shape[1:])) ** 0.5
        made[f"conv{number}"] = rng.normal(0, scale, shape), rng.normal(0, 5, width)
        below = width
    below *= 36
    for number, width in enumerate((*net.hidden, net.classes), 6):
        made[f"fc{number}"] = (
            rng.normal(0, (2 / below) ** 0.5, (width, below)),
            rng.normal(0, 1, width),
        )
        below = width
    return {
        f"{net.prefix}{name}_{part}_0": array.astype(np.float32)
        for name, pair in made.items()
        for part, array in zip("wb", pair, strict=True)
    }


def onnx_model(net: Zoo, arrays: dict[str, Array]) -> onnx.ModelProto:
    """The graph; every rectified convolution and the logits are outputs, as in no zoo file."""
    p = net.prefix
    nodes = []
    x = f"{p}data_0"
    outputs = []

    def add(kind: str, below: Sequence[str], out: str, **attributes: object) -> str:
        nodes.append(helper.make_node(kind, below, [p + out], name="", **attributes))
        return p + out

    def pool(x: str, number: int, which: int) -> str:
        end = int(net.reaching[which])
        return add(
            "MaxPool", [x], f"pool{number}_1",
            kernel_shape=[3, 3], pads=[0, 0, end, end], strides=[2, 2],
        )  # fmt: skip

    for number, (side, stride, padding, groups) in enumerate(net.convolutions, 1):
        x = add(
            "Conv", [x, f"{p}conv{number}_w_0", f"{p}conv{number}_b_0"], f"conv{number}_1",
            kernel_shape=[side, side], pads=[padding] * 4, strides=[stride, stride], group=groups,
        )  # fmt: skip
        x = add("Relu", [x], f"conv{number}_2")
        outputs.append(x)
        if number < 3:
            x = pool(x, number, number - 1) if net.pool_first else x
            x = add("LRN", [x], f"norm{number}_1", **net.normalisation)
            x = x if net.pool_first else pool(x, number, number - 1)
    x = pool(x, 5, 2)
    nodes.append(helper.make_node("Reshape", [x, "OC2_DUMMY_1"], ["OC2_DUMMY_0"]))
    x = "OC2_DUMMY_0"
    for number in (6, 7, 8):
        below = [x, f"{p}fc{number}_w_0", f"{p}fc{number}_b_0"]
        x = add("Gemm", below, f"fc{number}_1", transB=1)
        if number < 8:
            x = add("Relu", [x], f"fc{number}_2")
            x = add("Dropout", [x], f"fc{number}_3", ratio=0.5)
    outputs.append(x)
    x = add("Softmax", [x], "prob_1", axis=1)
    outputs.append(x)
    shape = np.array([1, net.maps[-1] * 36], np.int64)
    initialisers = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    initialisers.append(numpy_helper.from_array(shape, "OC2_DUMMY_1"))
    sides = [1, 3, net.side, net.side]
    inputs = [
        helper.make_tensor_value_info(f"{p}data_0", TensorProto.FLOAT, sides),
        *(helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in initialisers),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        inputs,
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * (4 if at < 5 else 2))
            for at, name in enumerate(outputs)
        ],
        initialisers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 9)])
    model.ir_version = 3
    onnx.checker.check_model(model)
    return model


@dataclass(frozen=True)
class Keras:
    """Layer → kernel (out, in, rows, columns) or matrix (in, out), and bias."""

    layers: dict[str, tuple[Array, Array]]

    @classmethod
    def drawn(
        cls,
        maps: tuple[int, ...] = (12, 16, 20, 16, 12),
        hidden: tuple[int, int] = (10, 8),
        classes: int = 6,
        seed: int = 0,
    ) -> "Keras":
        rng = np.random.default_rng(seed)
        made = {}
        below = 3
        for number, (width, side) in enumerate(zip(maps, (11, 5, 3, 3, 3), strict=True), 1):
            groups = 2 if number in (2, 4, 5) else 1
            for group in range(groups):
                shape = (width // groups, below // groups, side, side)
                scale = 0.2 if number == 1 else (2 / np.prod(shape[1:])) ** 0.5
                name = f"conv_{number}" + (f"_{group + 1}" if groups == 2 else "")
                made[name] = rng.normal(0, scale, shape), rng.normal(0, 5, shape[0])
            below = width
        below *= 36
        for number, width in enumerate((*hidden, classes), 1):
            matrix = rng.normal(0, (2 / below) ** 0.5, (below, width))
            made[f"dense_{number}"] = matrix, rng.normal(0, 1, width)
            below = width
        return cls({n: (a.astype(np.float32), b.astype(np.float32)) for n, (a, b) in made.items()})

    def file(self, whole: bool = False) -> bytes:
        """As `save_weights` writes it; or `save`, which keeps the net beside them."""
        stream = io.BytesIO()
        with h5py.File(stream, "w") as file:
            root = file.create_group("model_weights") if whole else file
            silent = ["input_1", "convpool_1", "zeropadding2d_1", "lambda_1", "softmax"]
            names = [*silent, *self.layers]
            root.attrs["layer_names"] = [name.encode() for name in names]
            for name in names:
                group = root.create_group(name)
                arrays = self.layers.get(name, ())
                parts = [f"{name}_{part}" for part, _ in zip("Wb", arrays, strict=False)]
                group.attrs["weight_names"] = [part.encode() for part in parts]
                for part, array in zip(parts, arrays, strict=True):
                    group[part] = array
        return stream.getvalue()
