"""What a GPU does with a net, and how much of it mining from files gets: decoding is the bound.

Needs no Ray. On a machine without a GPU it is left out, unless it is asked for.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor

from pipeline.bench.order import TOP_K, Order, load
from pipeline.bench.printer import Column, Finding
from pipeline.bench.runner import processes
from pipeline.cluster.here import cores
from pipeline.core.arithmetic import multiply_exactly
from pipeline.core.heaps.peaks import Peaks
from pipeline.core.heaps.screening import screened
from pipeline.core.heaps.topk import strongest
from pipeline.core.nets.known import Net
from pipeline.core.nets.preprocessing import Preprocessing
from pipeline.data.batches import ON_PROCESSOR, Decoding, Stream, batches
from pipeline.data.formats.dataset import Dataset
from pipeline.data.nvjpeg import nvjpeg, nvjpeg_if_there
from pipeline.data.samples import Part
from pipeline.data.store import Store
from pipeline.errors import RequestError
from pipeline.stages.mine import Miner
from pipeline.stages.part import mine_part

_BATCH = 256
_ROUNDS = {True: 5, False: 30}  # of a batch in the GPU's memory
_SHARDS = 4
_IMAGES = {True: 1024, False: 8192}  # that are mined from files
_WORKERS = 4  # that share the GPU
_COMPARED = 256  # images whose winners are compared with a processor's
_NVJPEG = "decoding by nvJPEG"
_SCREENING = "screening, bfloat16, compiled"
_COLUMNS = {"rate": Column("images/s", 0), "share": Column("of its\nbound", 2)}
_NOTES = (
    "Of its bound: of what the net does alone in that precision; of mining from files the smaller",
    "one of decoding and the net with its peaks. Winners: the same image at the same rank.",
)

Rates = dict[str, dict[str, float]]


def measure(order: Order) -> Iterator[Finding]:
    """One table of everything, each a few seconds.

    Raises:
        RequestError: there is no GPU.
    """
    if not torch.cuda.is_available():
        raise RequestError("Section gpu needs a GPU that torch can use; this machine has none.")
    multiply_exactly()
    rows: Rates = {}
    dataset = order.shards(_SHARDS, _IMAGES[order.short] // _SHARDS)
    preparing = load(order.net).preprocessing
    rows |= _decoding(dataset, preparing)
    rows |= _decoding_there(dataset, preparing)
    rows |= _copying(order.net)
    rows |= _nets(order)
    rows |= _mining(order, dataset, rows)
    rows["winners like a processor's"] = {"share": _alike(order)}
    card = torch.cuda.get_device_name()
    title = f"{order.net} on {card}, {cores()} cores, torch {torch.__version__}"
    yield Finding(title, _COLUMNS, rows, {"net": order.net, "card": card}, _NOTES)


def _decoding(dataset: Dataset, preparing: Preprocessing) -> Rates:
    """Reading, decoding and resizing alone, by threads and by processes."""
    parts = dataset.parts()
    begun, count = time.perf_counter(), sum(_decoded(dataset, parts, preparing, cores()))
    rows = {f"decoding, {cores()} threads": {"rate": count / (time.perf_counter() - begun)}}
    with processes(cores()) as pools:
        for pool in pools:
            pool.submit(_decode_all, dataset, parts[:1], preparing).result()  # all is loaded
        begun = time.perf_counter()
        shares = [pool.submit(_decode_all, dataset, parts[:1], preparing) for pool in pools]
        count = sum(share.result() for share in shares)
    rows[f"decoding, {cores()} processes"] = {"rate": count / (time.perf_counter() - begun)}
    return rows


def _decode_all(dataset: Dataset, parts: list[Part], preparing: Preprocessing) -> int:
    return sum(_decoded(dataset, parts, preparing, 0))


def _decoding_there(dataset: Dataset, preparing: Preprocessing) -> Rates:
    """The same on the GPU, where nvJPEG is installed."""
    decoding = nvjpeg_if_there("cuda")
    if decoding is ON_PROCESSOR:
        return {}
    count = sum(_decoded(dataset, dataset.parts()[:1], preparing, cores(), decoding))
    begun = time.perf_counter()
    count = sum(_decoded(dataset, dataset.parts(), preparing, cores(), decoding))
    return {_NVJPEG: {"rate": count / (time.perf_counter() - begun)}}


def _decoded(
    dataset: Dataset,
    parts: list[Part],
    preparing: Preprocessing,
    threads: int,
    decoding: Decoding = ON_PROCESSOR,
) -> Iterator[int]:
    for part in parts:
        samples, streams = enumerate(dataset.read(part)), [Stream(preparing, _BATCH)]
        for batch in batches(samples, streams, threads, decoding=decoding):
            yield len(batch.pictures)


def _copying(name: str) -> Rates:
    """From this machine's memory to the GPU's."""
    shape = (_BATCH, 3, *load(name).preprocessing.input_size)
    rows = {}
    for what, pinned in (("pageable", False), ("pinned", True)):
        batch = torch.zeros(shape, dtype=torch.uint8, pin_memory=pinned)
        rate = _timed(partial(batch.to, "cuda", non_blocking=True), 20)
        rows[f"copying to the GPU, {what} memory"] = {"rate": rate}
    return rows


def _nets(order: Order) -> Rates:
    """The net alone and with its peaks, on a batch that is there already."""
    net, rounds = _on_gpu(order.net), _ROUNDS[order.short]
    images = torch.rand(_BATCH, 3, *net.preprocessing.input_size, device="cuda")
    images = images.to(memory_format=torch.channels_last)
    layer = net.graph.layers[-1].name
    trunk = net.graph.only([layer]).trunk
    rows: Rates = {}

    def add(
        name: str, work: Callable[[Tensor], Any], images: Tensor, of: str | None = None
    ) -> None:
        rate = _timed(partial(work, images), rounds)
        rows[name] = {"rate": rate} | ({"share": rate / rows[of]["rate"]} if of else {})

    add("the net alone, float32", trunk, images)
    with _tf32():
        add("the net alone, TF32", trunk, images)
    for name, find in (("max_pool2d", strongest), ("amax and argmax", _amax_and_argmax)):
        add(f"with peaks by {name}", Peaks.of(net.graph, find), images, "the net alone, float32")
    half, small = deepcopy(trunk).bfloat16(), images.bfloat16()
    add("the net alone, bfloat16", half, small)
    add("the net alone, bfloat16, compiled", torch.compile(half), small)
    graph = _on_gpu(order.net).graph
    plain = screened(graph, compiles=False)
    add("screening, bfloat16", plain, images, "the net alone, bfloat16")
    add(_SCREENING, screened(graph), images, "the net alone, bfloat16, compiled")
    return rows


def _on_gpu(name: str) -> Net:
    """A net of its own on the GPU."""
    net = load(name)
    net.graph.trunk.to("cuda")
    return net


def _amax_and_argmax(maps: Tensor) -> tuple[Tensor, Tensor]:
    flat = maps.flatten(2)
    return flat.amax(2), flat.argmax(2)


def _mining(order: Order, dataset: Dataset, rows: Rates) -> Rates:
    """From files to heaps."""
    decoding = max(row["rate"] for name, row in rows.items() if name.startswith("decoding, "))
    exact, screen = (rows[name]["rate"] for name in ("with peaks by max_pool2d", _SCREENING))
    made: Rates = {}

    def add(what: str, decoding: float, net: float, rate: float) -> None:
        made[what] = {"rate": rate, "share": rate / min(decoding, net)}
        made[f"{what}: GPU busy"] = {"share": rate / net}

    def mined(miner: Miner) -> float:
        _mined(miner, dataset, dataset.parts()[:1], order.run, cores())
        begun = time.perf_counter()
        _mined(miner, dataset, dataset.parts(), order.run, cores())
        return _IMAGES[order.short] / (time.perf_counter() - begun)

    add("mining exactly from files", decoding, exact, mined(Miner.exact(_on_gpu(order.net))))
    shared = f"mining exactly from files, {_WORKERS} processes"
    add(shared, decoding, exact, _shared(order, dataset))
    add("screening from files", decoding, screen, mined(Miner.screening(_on_gpu(order.net))))
    if _NVJPEG in rows:
        miner = Miner.screening(_on_gpu(order.net), nvjpeg(torch.device("cuda")))
        add("screening from files by nvJPEG", rows[_NVJPEG]["rate"], screen, mined(miner))
    return made


def _shared(order: Order, dataset: Dataset) -> float:
    """Images a second of processes that share the GPU: one decodes while another ends its part."""
    with processes(_WORKERS) as pools:
        for pool in pools:
            pool.submit(_mine_alone, order, dataset, dataset.parts()[:1]).result()
        begun = time.perf_counter()
        shares = [pool.submit(_mine_alone, order, dataset, dataset.parts()) for pool in pools]
        for share in shares:
            share.result()
    return _WORKERS * _IMAGES[order.short] / (time.perf_counter() - begun)


def _mine_alone(order: Order, dataset: Dataset, parts: list[Part]) -> None:
    """In a process of its own, which keeps its net."""
    _mined(_miner(order.net), dataset, parts, order.run, max(1, cores() // _WORKERS))


@cache
def _miner(name: str) -> Miner:
    return Miner.exact(_on_gpu(name))


def _mined(miner: Miner, dataset: Dataset, parts: list[Part], run: Store, decoders: int) -> None:
    """All is in the heaps' files when it returns."""
    for part in parts:
        mine_part([miner], dataset, part, [run], TOP_K, decoders)


def _alike(order: Order) -> float:
    """The share of the winners of some images that are the same by rank as a processor's."""
    (part,) = (compared := order.shards(1, _COMPARED)).parts()
    found = []
    for net in (load(order.net), _on_gpu(order.net)):
        miner = Miner.exact(net)
        heaps = miner.heaps(TOP_K)
        for batch in batches(enumerate(compared.read(part)), [miner.stream], cores()):
            used = len(batch.pictures)
            values, places = miner.maxima(batch.images.to(net.device))
            samples = torch.tensor([picture.position for picture in batch.pictures])
            heaps.add(values[:used], places[:used], samples.to(net.device))
        found.append(heaps.samples.cpu())
    return float((found[0] == found[1]).float().mean())


def _timed(work: Callable[[], Any], rounds: int) -> float:
    """Images per second of a work on one batch."""
    with torch.inference_mode():
        for _ in range(3):  # kernels are chosen and compiled
            work()
        torch.cuda.synchronize()
        begun = time.perf_counter()
        for _ in range(rounds):
            work()
        torch.cuda.synchronize()
    return rounds * _BATCH / (time.perf_counter() - begun)


@contextmanager
def _tf32() -> Iterator[None]:
    """As torch convolves where nobody forbids it."""
    backends: Any = torch.backends
    if hasattr(backends.cudnn, "conv"):
        backends.cudnn.conv.fp32_precision = "tf32"
    else:
        backends.cudnn.allow_tf32 = True
    try:
        yield
    finally:
        multiply_exactly()
