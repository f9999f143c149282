"""From samples to batches of the net's input: reading and decoding run beside the net."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice

import torch
from torch import Tensor

from pipeline.core.nets.preprocessing import Preprocessing
from pipeline.data.decoding import decode
from pipeline.data.effort import Effort
from pipeline.data.samples import Sample
from pipeline.errors import SampleError

_AT_ONCE = 8
"""Samples that a thread takes together: handing them over one by one costs as much as resizing."""

Numbered = tuple[int, Sample]
"""A sample, after its position in the part."""


_PROCESSOR = torch.device("cpu")


@dataclass(frozen=True)
class Picture:
    """A decoded sample.

    Attributes:
        sample: what was read, its bytes dropped.
        position: of the sample in its part, unusable ones counted too.
        images: uint8 (C, H, W), one per preprocessing; empty where there is a problem.
        size: (height, width) of the original picture.
        problem: why there is no image.
    """

    sample: Sample
    position: int
    images: tuple[Tensor, ...] = ()
    size: tuple[int, int] = (0, 0)
    problem: str | None = None


@dataclass(frozen=True)
class Stream:
    """What one net wants: pictures prepared its way, so many at a time.

    Attributes:
        preprocessing: of the net.
        size: images in a batch. A convolution's last bits may change with it: it never varies.
    """

    preprocessing: Preprocessing
    size: int


def decode_sample(
    sample: Sample, position: int, preprocessings: Sequence[Preprocessing]
) -> Picture:
    """Decode one sample, resize and crop it in each of these ways."""
    read = replace(sample, data=b"", problem=None)
    if sample.problem is not None:
        return Picture(read, position, problem=sample.problem)
    try:
        modes = dict.fromkeys(preprocessing.mode for preprocessing in preprocessings)
        decoded = {mode: decode(sample.data, mode) for mode in modes}
        images = tuple(way.prepare(decoded[way.mode]) for way in preprocessings)
    except SampleError as error:
        return Picture(read, position, problem=str(error))
    height, width = next(iter(decoded.values())).shape[1:]
    return Picture(read, position, images, (height, width))


def decode_all(
    samples: Sequence[Numbered], preprocessings: Sequence[Preprocessing]
) -> list[Picture]:
    """Decode samples on a processor, one after the other."""
    return [decode_sample(sample, position, preprocessings) for position, sample in samples]


@dataclass(frozen=True)
class Decoding:
    """How samples become pictures.

    Attributes:
        of: numbered samples and preprocessings to pictures, in the same order.
        at_once: samples that it takes together.
        device: that its pictures are on.
        name: of the decoder of JPEGs; that of `jpeg_decoder`, if empty.
    """

    of: Callable[[Sequence[Numbered], Sequence[Preprocessing]], list[Picture]] = decode_all
    at_once: int = _AT_ONCE
    device: torch.device = _PROCESSOR
    name: str = ""


ON_PROCESSOR = Decoding()


@dataclass(frozen=True)
class Batch:
    """Some pictures for one of the nets, in the order of the dataset.

    Attributes:
        stream: which one it is for.
        images: uint8 (size, C, H, W); the tail of the last one is black.
        pictures: those that could be decoded: one per image, the tail apart.
        skipped: those met on the way that could not; in the batches of the first stream alone.
    """

    stream: int
    images: Tensor
    pictures: list[Picture] = field(default_factory=list)
    skipped: list[Picture] = field(default_factory=list)


@dataclass(frozen=True)
class Seen:
    """The samples of a part that were met.

    Attributes:
        pictures: those that were used, in the order of the part.
        skipped: those that could not be.
        remarks: what else there is to say of the data.
    """

    pictures: list[Picture] = field(default_factory=list)
    skipped: list[Picture] = field(default_factory=list)
    remarks: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.pictures) + len(self.skipped)


def batches(
    samples: Iterator[Numbered],
    streams: Sequence[Stream],
    decoders: int = 0,
    effort: Effort | None = None,
    pinned: bool = False,
    decoding: Decoding = ON_PROCESSOR,
) -> Iterator[Batch]:
    """Batches for several nets out of one pass, read and decoded ahead by threads.

    Args:
        samples: what to read, and each one's position; iterated in a thread of its own.
        streams: one per net; what two want alike is prepared once.
        decoders: threads that decode beside the net; with 0 it is done between its batches.
        effort: counts what reading and decoding take.
        pinned: whether batches of a processor's lie in memory that a GPU reads by itself.
        decoding: how; batches are where its pictures are.

    Yields:
        Full batches of each stream, the last ones padded; memory is bounded by two of each.
    """
    ways = list(dict.fromkeys(stream.preprocessing for stream in streams))
    device, pinned = decoding.device, pinned and decoding.device.type == "cpu"

    def empty(number: int) -> Batch:
        size, way = streams[number].size, streams[number].preprocessing
        shape = size, way.channels, *way.input_size
        zeros = torch.zeros(shape, dtype=torch.uint8, device=device, pin_memory=pinned)
        return Batch(number, zeros)

    filling = [empty(number) for number in range(len(streams))]
    ahead = max(stream.size for stream in streams)
    for picture in _decoded(samples, ways, decoders, ahead, effort or Effort(), decoding):
        if picture.problem is not None:
            filling[0].skipped.append(picture)
            continue
        for number, stream in enumerate(streams):
            batch = filling[number]
            image = picture.images[ways.index(stream.preprocessing)]
            if image.is_cuda:  # made on another stream, where its memory is taken back too early
                image.record_stream(torch.cuda.current_stream(device))
            batch.images[len(batch.pictures)] = image
            batch.pictures.append(replace(picture, images=()))
            if len(batch.pictures) == stream.size:
                yield batch
                filling[number] = empty(number)
    for batch in filling:
        if batch.pictures or batch.skipped:
            yield batch


def _decoded(
    samples: Iterator[Numbered],
    preprocessings: Sequence[Preprocessing],
    decoders: int,
    ahead: int,
    effort: Effort,
    decoding: Decoding,
) -> Iterator[Picture]:
    """Pictures in the order of the samples, about `ahead` of them waiting."""

    def decode_group(group: list[Numbered]) -> list[Picture]:
        with effort.on("decoding"):
            return decoding.of(group, preprocessings)

    with (
        ThreadPoolExecutor(max(1, decoders), "decode") as pool,
        ThreadPoolExecutor(1, "read") as reader,
    ):

        def read() -> Callable[[], list[Picture]]:
            with effort.on("reading"):
                group = list(islice(samples, decoding.at_once))
            effort.add("bytes", sum(len(sample.data) for _, sample in group))
            work = partial(decode_group, group)
            return pool.submit(work).result if decoders else work

        waiting = deque(reader.submit(read) for _ in range(1 + -(-ahead // decoding.at_once)))
        try:
            while pictures := waiting.popleft().result()():
                waiting.append(reader.submit(read))
                yield from pictures
        finally:
            reader.shutdown(cancel_futures=True)
