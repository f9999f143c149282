"""What answers: a net, and what its run knows of all the dataset."""

from base64 import b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from io import BytesIO
from urllib.parse import quote

import numpy as np
import torch
from PIL import Image

from pipeline.config import RunSpec
from pipeline.core.nets.known import Net
from pipeline.core.occlusion.hiding import Hiding, Seen
from pipeline.core.occlusion.occlusion import Occlusion
from pipeline.data.class_names import ClassNames
from pipeline.data.findings import Activation, Explanation, OccludeSettings
from pipeline.data.stored.standing import Standing
from pipeline.errors import AtlasError
from pipeline.service.answers import (
    Answer,
    Begun,
    Box,
    Change,
    ClassShare,
    Hidden,
    LayerAnswer,
    MapChange,
    Places,
    Refusal,
    StrongMap,
)
from pipeline.service.memory import Held
from pipeline.stages import occlude
from pipeline.stages.explain import explain_pictures

_TOP_CLASSES = 5

_SMALL = 3 * 64 * 64
"""Values of a picture that is sent without loss, as its colours would run into each other."""

_SQUARE, _STRIDE, _OF = 27, 7, 227
"""Side and stride of the occluder in the paper, before its net's input."""


@dataclass(frozen=True)
class Question:
    """What is asked of a picture.

    Attributes:
        held: the picture.
        layers: that the answer is to tell about, in the order of the forward pass.
        maps: how many of each layer.
    """

    held: Held
    layers: tuple[str, ...]
    maps: int


class Engine:
    """A net that answers, for one thread.

    Args:
        net: with its classifier, on the device to use.
        spec: of its run.
        standing: of its run.
        names: of the net's classes.
    """

    def __init__(
        self,
        net: Net,
        spec: RunSpec,
        standing: Standing,
        names: ClassNames,
    ) -> None:
        self.net, self.spec, self.standing, self.names = net, spec, standing, names
        self._occlusion = lru_cache(4)(self._prepared)

    # --- what a picture excites ---------------------------------------------------------------

    def answer(self, questions: Sequence[Question]) -> list[Answer | Refusal]:
        """Answers to some questions, of one batch where they ask for the same."""
        answers: dict[int, Answer | Refusal] = {}
        for layers, maps in dict.fromkeys((asked.layers, asked.maps) for asked in questions):
            same = [n for n, q in enumerate(questions) if (q.layers, q.maps) == (layers, maps)]
            held = [questions[n].held for n in same]
            try:
                answers |= zip(same, self._answers(held, layers, maps), strict=True)
            except AtlasError as error:
                answers |= dict.fromkeys(same, Refusal.of(error))
        return [answers[n] for n in range(len(questions))]

    def _answers(self, held: Sequence[Held], layers: Sequence[str], maps: int) -> Iterator[Answer]:
        pictures = [each.picture for each in held]
        found = explain_pictures(self.net, pictures, layers, maps, maps)
        probabilities = self._probabilities(torch.stack([each.image for each in pictures]))
        for each, explanation, of_classes in zip(held, found, probabilities, strict=True):
            yield self._told(each, explanation, of_classes)

    @torch.inference_mode()
    def _probabilities(self, images: torch.Tensor) -> torch.Tensor:
        """(N, classes) of the nets' inputs (N, C, H, W); (N, 0) without a classifier."""
        if self.net.module is None or not self.net.classes:
            return torch.empty(len(images), 0)
        normalised = self.net.preprocessing.normalise(images.to(self.net.device))
        return torch.as_tensor(self.net.module(normalised)).softmax(1).cpu()

    def _told(self, held: Held, found: Explanation, probabilities: torch.Tensor) -> Answer:
        picture = found.picture
        return Answer(
            picture=held.name,
            name=picture.wanted.name if picture.wanted.located else "",
            size=picture.size,
            turned=picture.is_turned,
            seen=_webp(picture.pixels),
            classes=[
                ClassShare(label=n, name=self._named(n), probability=float(probabilities[n]))
                for n in _top(probabilities)
            ],
            layers=[
                LayerAnswer(layer=layer.name, maps=[*map(self._strong, found.of(layer.name))])
                for layer in found.layers
            ],
        )

    def _strong(self, activation: Activation) -> StrongMap:
        layer, feature_map, value = activation.layer, activation.feature_map, activation.value
        return StrongMap(
            feature_map=feature_map,
            activation=value,
            stronger_than=self.standing.share_below(layer, feature_map, value),
            y=activation.y,
            x=activation.x,
            box=activation.box,
            source_box=activation.source_box,
            projection=_webp(activation.contrast),
            page=f"#/{quote(layer, safe='')}/{feature_map}",
        )

    def _named(self, label: int) -> str:
        return self.names.names.get(label) or f"class {label}"

    # --- what hiding does ---------------------------------------------------------------------

    @cached_property
    def _hiding(self) -> Hiding:
        occlude.check(self.net, self._settings())
        assert self.net.module is not None, "a net with classes is whole"
        pre = self.net.preprocessing
        return Hiding(self.net.module, self.net.graph.layers, pre.input_size, pre.channels)

    def hide(self, held: Held, box: Box, maps: Sequence[tuple[str, int]]) -> Hidden | Refusal:
        """What the net makes of a picture while a box of it is hidden.

        Args:
            held: the picture.
            box: in pixels of the net's input.
            maps: layer and number of each feature map that is wanted.
        """
        try:
            for layer, number in maps:
                self.spec.layer(layer).require_map(number)
            held.seen = held.seen or self._hiding.look(self._normalised(held))
            watched: dict[str, list[int]] = {}
            for layer, number in maps:
                watched.setdefault(layer, []).append(number)
            hidden = self._hiding.hide(held.seen, box, watched)
            return self._change(held.seen, hidden, held.name, watched)
        except AtlasError as error:
            return Refusal.of(error)
        except ValueError as error:  # the box is none
            return Refusal(422, f"{error}.")

    def _change(
        self, seen: Seen, hidden: Seen, picture: str, watched: dict[str, list[int]]
    ) -> Hidden:
        before, now = seen.probabilities.cpu(), hidden.probabilities.cpu()
        maps = [
            MapChange(layer=layer, feature_map=number, activation=value, before=was)
            for layer, numbers in watched.items()
            for number, value, was in zip(
                numbers,
                hidden.strongest[layer].tolist(),
                seen.strongest[layer][numbers].tolist(),
                strict=True,
            )
        ]
        labels = dict.fromkeys([*_top(now), *_top(before)])
        classes = [
            Change(label=n, name=self._named(n), probability=float(now[n]), before=float(before[n]))
            for n in labels
        ]
        return Hidden(picture=picture, classes=classes, maps=maps)

    def _normalised(self, held: Held) -> torch.Tensor:
        """(C, H, W)."""
        images = held.picture.image[None].to(self.net.device)
        return self.net.preprocessing.normalise(images)[0]

    # --- the occlusion map --------------------------------------------------------------------

    def _prepared(self, layer: str | None) -> Occlusion:
        return occlude.prepare(self.net, self._settings(layer))

    def _settings(self, layer: str | None = None) -> OccludeSettings:
        """The paper's occluder, as large before this net's input."""
        shorter = min(self.net.preprocessing.input_size)
        side, stride = (max(1, round(shorter * length / _OF)) for length in (_SQUARE, _STRIDE))
        return OccludeSettings(layer, side, stride)

    def occlude(self, held: Held, layer: str | None) -> Iterator[Begun | Places | Refusal]:
        """The occlusion map of a picture, some places at a time as they are computed.

        Args:
            held: the picture.
            layer: whose strongest feature map is watched; None takes the top one.
        """
        try:
            if layer is not None:
                self.spec.layer(layer)
            plan = self._occlusion(layer)
            without = plan.without(self._normalised(held))
        except AtlasError as error:
            yield Refusal.of(error)
            return
        yield Begun(
            picture=held.name,
            layer=plan.layer.name,
            feature_map=without.feature_map,
            label=without.label,
            name=self._named(without.label),
            probability=without.probability,
            total=without.total,
            occluder=plan.occluder.size,
            tops=plan.tops.tolist(),
            lefts=plan.lefts.tolist(),
        )
        rows = plan.incrementally(without)
        while True:
            with torch.inference_mode():
                places = next(rows, None)
            if places is None:
                return
            y, x, total, probability, top_class = places
            yield Places(
                row=y.tolist(),
                column=x.tolist(),
                probability=probability.tolist(),
                total=total.tolist(),
                top_class=top_class.tolist(),
            )


def _top(probabilities: torch.Tensor) -> list[int]:
    """The most probable classes."""
    count = min(_TOP_CLASSES, len(probabilities))
    labels: list[int] = probabilities.topk(count).indices.tolist()
    return labels


def _webp(pixels: np.ndarray) -> str:
    """A picture (H, W, 3), uint8, as a data URL."""
    sink = BytesIO()
    small = pixels.size <= _SMALL
    Image.fromarray(pixels).save(sink, "WEBP", lossless=small, quality=85, method=0)
    return f"data:image/webp;base64,{b64encode(sink.getvalue()).decode()}"
