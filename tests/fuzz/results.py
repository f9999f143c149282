"""Files of a run: the same rows, or one sentence with the remedy."""

import random
from pathlib import Path

from pipeline import schema
from pipeline.data.store import Store
from pipeline.errors import AtlasError
from pipeline.stages.merging.merge import merge
from pipeline.stages.mine import Miner
from pipeline.stages.part import mine_part
from tests.data.stored.test_damage import all_that_is_read
from tests.fuzz.mutation import Outcome, mutated, require_sentence
from tests.stages import tiny
from tests.stages.projected import project


class Results:
    """A run of a tiny net, of which one file at a time is damaged."""

    def __init__(self, folder: Path) -> None:
        tiny.write(folder / "pictures", 6)
        net, dataset = tiny.net_of(tiny.module()), tiny.opened(folder / "pictures")
        self._run = folder / "run"
        store, (part,) = Store(self._run), dataset.parts()
        spec = tiny.spec_of(net, dataset, 2)
        store.write(schema.RUN, spec.model_dump_json(indent=2).encode())
        mine_part([Miner.exact(net)], dataset, part, [store], 2)
        merge(store, spec, [part.name])
        project(store, net, dataset, list(tiny.NAMES.values()))
        store.write(schema.PROJECTION_SETTINGS, b'{"unpooling":"sum","arrays":false}')
        self._files = {name: (self._run / name).read_bytes() for name in store.list()}

    def try_one(self, dice: random.Random) -> Outcome:
        """One mutated file, and all that is read of a run."""
        name = dice.choice(sorted(self._files))
        file = self._run / name
        file.write_bytes(mutated(self._files[name], dice, list(self._files.values())))
        outcome = Outcome.USABLE
        try:
            for read in all_that_is_read(self._run):
                try:
                    read()
                except AtlasError as error:
                    require_sentence(str(error), str(file))
                    outcome = Outcome.REFUSED
        finally:
            file.write_bytes(self._files[name])
        return outcome
