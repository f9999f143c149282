"""deconv-atlas: what does this convnet look for?

The map of the house, each floor importing only those before it: `errors`, `schema` and `config`
say what there is; `core` is the science (graphs, receptive fields, heaps, the deconvnet), `data`
brings pictures in and results out; `stages` are plain functions over one part of the work, and
`atlas` is what people look at; `run` opens a run in a notebook; `connection`, `crew` and `cluster`
put the stages on Ray, `mining` and `commands` string them together, and `cli` is the command line.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.run import Run, open_run

__all__ = ["Run", "open_run"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from pipeline import run  # here, so that `core` alone needs neither files nor networks

    return getattr(run, name)
