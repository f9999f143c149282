"""Weights that Keras wrote as HDF5 when it ran on Theano: those of convnets-keras' AlexNet.

https://github.com/heuritech/convnets-keras. A layer in two groups is stored as two, ``conv_2_1``
and ``conv_2_2``. Kernels are (out, in, rows, columns) for a true convolution, which turns them
by half a turn; torch's is a correlation. Fully connected layers are (in, out).
"""

import io
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.core.nets import known
from pipeline.core.nets.old import Normalisation
from pipeline.data.weights.files import brief, formats_library
from pipeline.data.weights.state_dict import StoredWeights

# its `crosschannelnormalization`: 2 + 1e-4 · the sum of five squares
_NORMALISATION = Normalisation(size=5, alpha=5e-4, beta=0.75, k=2.0)

Arrays = list[NDArray[np.float32]]


def read(data: bytes, name: str) -> StoredWeights:
    """The weights of a net in a ``.h5`` file, whole or the weights alone.

    Its colours are R, G, B, with their mean subtracted from 0–255; pools come before
    normalisation.

    Args:
        data: the file's content.
        name: of the net.

    Raises:
        RequestError: h5py is not installed.
        ValueError: it is no such file, or has other layers.
    """
    layers = _layers(data)
    state = {}
    for number in range(1, 6):
        kernel, bias = _convolution(layers, f"conv_{number}")
        state[f"conv{number}.weight"] = torch.from_numpy(kernel[..., ::-1, ::-1].copy())
        state[f"conv{number}.bias"] = torch.from_numpy(bias)
    for number in range(1, 4):
        matrix, bias = _pair(layers, f"dense_{number}")
        state[f"fc{5 + number}.weight"] = torch.from_numpy(matrix.T.copy())
        state[f"fc{5 + number}.bias"] = torch.from_numpy(bias)
    own = replace(known.VARIANTS[name], normalisation=_NORMALISATION, pool_first=True)
    return StoredWeights(state, own.as_wide_as(state), known.preprocessing(name))


def _layers(data: bytes) -> dict[str, Arrays]:
    """Layer → its arrays, for the layers that have any."""
    h5py = formats_library("h5py", "Weights of Keras (.h5)")
    try:
        with h5py.File(io.BytesIO(data), "r") as file:
            root = file.get("model_weights", file)
            return {
                name: [np.asarray(root[name][weight], np.float32) for weight in weights]
                for name in _texts(root.attrs["layer_names"])
                if (weights := _texts(root[name].attrs["weight_names"]))
            }
    except (OSError, KeyError, AttributeError) as error:
        raise ValueError(f"it is no HDF5 file of Keras' weights ({brief(error)})") from error


def _texts(names: Any) -> list[str]:
    return [name.decode() if isinstance(name, bytes) else str(name) for name in names]


def _convolution(layers: dict[str, Arrays], name: str) -> Arrays:
    """Kernel and bias, of both groups if there are two."""
    if name in layers or f"{name}_1" not in layers:
        groups = [_pair(layers, name)]
    else:
        groups = [_pair(layers, f"{name}_{number}") for number in (1, 2)]
    for kernel, _ in groups:
        square = kernel.ndim == 4 and kernel.shape[2] == kernel.shape[3]
        if not square or kernel.shape != groups[0][0].shape:
            sizes = " and ".join("×".join(map(str, array.shape)) for array, _ in groups)
            raise ValueError(f"{name} is {sizes}, not (out, in, rows, columns) as Theano's are")
    return [np.concatenate(arrays) for arrays in zip(*groups, strict=True)]


def _pair(layers: dict[str, Arrays], name: str) -> Arrays:
    if name not in layers:
        raise ValueError(f"{name} is missing")
    if len(layers[name]) != 2:
        raise ValueError(f"{name} has {len(layers[name])} arrays, not a kernel and a bias")
    return layers[name]
