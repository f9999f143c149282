"""Files of weights: a net's, or one sentence; and nothing of what a pickle says is done."""

import io
import json
import os
import pickle
import random
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import nn

from pipeline.core.nets import fitting
from pipeline.data.weights import load
from pipeline.data.weights.checkpoint import state_dict, under_names_of
from pipeline.data.weights.files import read_bytes
from pipeline.errors import RequestError
from tests.fuzz.mutation import Outcome, mutated, require, require_sentence

_NEST: tuple[Any, ...] = (
    lambda state: state,
    lambda state: {"state_dict": state, "epoch": 3, "optimizer": {"lr": 0.1}},
    lambda state: {"model": {f"module.{name}": tensor for name, tensor in state.items()}},
    lambda state: {name: tensor.half() for name, tensor in state.items()},
    lambda state: list(state.values()),
    lambda state: {name: tensor.to_sparse() for name, tensor in state.items()},
)


class Malice:
    """Would make a file where a pickle is obeyed."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.marker),)


class Checkpoints:
    """Zips, legacy pickles and safetensors of a small net, nested and prefixed."""

    def __init__(self, folder: Path) -> None:
        torch.set_num_threads(1)
        torch.manual_seed(0)
        self._file, self._marker = folder / "weights.pth", folder / "obeyed"
        self._net = _net()
        state = self._net.state_dict()
        nested = [nest(state) for nest in _NEST]
        evil = {**state, "evil": Malice(self._marker)}
        self._corpus = [
            *(_saved(value, zipped) for value in (*nested, evil) for zipped in (True, False)),
            *(pickle.dumps(value) for value in (evil, Malice(self._marker), {"a": 1})),
            *(safetensors.torch.save(value) for value in (state, nested[3])),
        ]

    def try_one(self, dice: random.Random) -> Outcome:
        """One mutated file."""
        data = dice.choice(self._corpus)
        if data[8:9] == b"{" and dice.random() < 0.5:
            data = _other_header(data, dice)
        self._file.write_bytes(mutated(data, dice, self._corpus))
        name = str(self._file)
        try:
            state = state_dict(read_bytes(name, "tiny"), name)
            with load._fitting("tiny", name):
                fitting.fit(self._net, under_names_of(self._net, state))
        except RequestError as error:
            require_sentence(str(error), name)
            return Outcome.REFUSED
        finally:
            require(not self._marker.exists(), "a pickle was obeyed")
        return Outcome.USABLE


def _net() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4, 2)
    ).eval()


def _saved(value: object, zipped: bool) -> bytes:
    stream = io.BytesIO()
    torch.save(value, stream, _use_new_zipfile_serialization=zipped)
    return stream.getvalue()


def _other_header(data: bytes, dice: random.Random) -> bytes:
    """Safetensors with other numbers or types in its header."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    entry = header[dice.choice([name for name in header if name != "__metadata__"])]
    number = dice.choice((-1, 0, 1, 2**31, 2**63, 2**70, 0.5, None, "x", []))
    match dice.randrange(3):
        case 0:
            entry["shape"] = [number, *entry["shape"][1:]]
        case 1:
            entry["data_offsets"] = [dice.choice((0, number)), number]
        case 2:
            entry["dtype"] = dice.choice(("F64", "I8", "BOOL", "F8_E4M3", "X", 3))
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data[8 + length :]
