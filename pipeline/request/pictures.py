"""Requests about single pictures, and figures of them."""

from typing import Annotated, Literal

from pydantic import Field

from pipeline.request.fields import Frozen, Layers, Occluder, OfRun, OnCluster, Stride

Panel = Literal["control", "invariance", "correspondence", "compare"]
SVG = Annotated[bool, Field(description="Also as SVG, for drawing programs.")]
_WIDE = 297.0


class Figured(Frozen):
    """A figure as wide as a page, or as both columns of a journal."""

    width: float = Field(default=_WIDE, ge=150, le=600)
    """Of the figure, in millimetres: 183 is both columns of a journal."""
    svg: SVG = False


class ExplainRequest(OnCluster, Figured):
    """Explain pictures by a run's net: the strongest activation of each layer."""

    images: tuple[str, ...]
    """Paths or URLs, or numbers or keys of samples of the run."""
    layers: Layers = None


class OccludeRequest(OnCluster):
    """Slide an occluder over pictures before a run's net."""

    images: tuple[str, ...]
    """Paths or URLs, or numbers or keys of samples of the run, with commas between; may be
    repeated."""
    occluder: Occluder = 27
    stride: Stride = 7
    colour: tuple[int, int, int] | None = None
    """Of the square, as #rrggbb; by default the net's mean."""
    layer: str | None = None
    """Whose strongest feature map is watched; by default the top one's."""
    label: int | None = None
    """The correct class; by default the sample's, else the net's prediction."""
    width: float = Field(default=_WIDE, ge=80, le=600)
    """Of the figure, in millimetres: 89 is one column of a journal, 183 are both."""
    svg: SVG = False


class PosterRequest(OfRun):
    """One page with what a run has found."""

    out: str | None = None
    """Path or URL of the page; by default RUN/poster.pdf."""
    layers: Layers = None
    maps: dict[str, tuple[int, ...]] | None = None
    """Feature maps to show of a layer, as conv5=3,12; may be repeated."""
    images: tuple[str, ...] = ()
    """The examples, as for occlude; by default winners."""
    panels: tuple[Panel, ...] = ()
    """Figures of the run to be added below, on a longer page: control, invariance, correspondence
    or compare, with commas between."""
    occluder: Occluder = 27
    stride: Stride = 7
    svg: SVG = False
