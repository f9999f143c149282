"""deconv-atlas: what does this convnet look for?

The map of the house; each floor imports only those above it here:

- `errors`, `schema`: what can go wrong; the objects of a run and the columns of its files.
- `core`: the science, torch and numpy alone. `graph`: a net as steps; `heaps`: the strongest
  images of each feature map; `projection`: the deconvnet; `occlusion`; `nets`.
- `request`, `config`: what is asked for, and what a run is; `terminal`: how commands speak.
- `data`: where pictures come from (`formats`, `weights`, `demo`) and where results go (`store`,
  `results`), and the records of single pictures (`pictures`, `findings`).
- `stages`: the work on one part, plain functions; beside them `atlas`: what people look at. The
  two know nothing of each other.
- `run`: a run in a notebook.
- `cluster`: the loop that brings workers their units: threads of this process, or those of a Ray
  cluster (`on_ray`), which nobody else knows.
- `commands`: from a request to a finished result.
- `bench`: how fast it is; `cli`: the command line.

What `ray job submit` runs is in `jobs`, above them all.
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
