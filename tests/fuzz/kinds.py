"""The kinds of files that are tried."""

from collections.abc import Callable
from pathlib import Path

from tests.fuzz.checkpoints import Checkpoints
from tests.fuzz.parquet import ParquetFiles
from tests.fuzz.pictures import Pictures
from tests.fuzz.results import Results
from tests.fuzz.runner import Kind
from tests.fuzz.tars import Tars
from tests.fuzz.texts import Texts

KINDS: dict[str, Callable[[Path], Kind]] = {
    "tar": Tars,
    "parquet": ParquetFiles,
    "picture": Pictures,
    "checkpoint": Checkpoints,
    "text": Texts,
    "result": Results,
}
