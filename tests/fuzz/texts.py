"""Files of labels and of class names: read, or one sentence."""

import io
import json
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.data.class_name_files import load_class_names
from pipeline.data.labels import labels_of_files, labels_of_members, load_labels
from pipeline.errors import RequestError
from tests.fuzz.mutation import Outcome, mutated, require_sentence

_KEYS = ("a/1.jpg", "a/2.jpg", "b/3.jpg", "ILSVRC2012_val_00000001.JPEG")
_TEXTS = (
    "name,label\na/1.jpg,0\na/2.jpg,1\n",
    "0\n1\n2\n3\n",
    "490\n361\n171\n822\n",
    "490\n361\n171\n822\n297\n482\n13\n704\n599\n164\n649\n11\n",
    "0,cat\n1,dog\n",
    'index,name\n0,"cat, tabby"\n1,dog\n',
    "ILSVRC2012_val_00000001.JPEG 65\nILSVRC2012_val_00000002.JPEG 970\n",
    "ImageId,PredictionString\nILSVRC2012_val_00000001,n03995372 85 1 499 272\n",
    "position;label\n0;7\n3;n01440764\n",
    "n01440764 tench, Tinca tinca\nn01443537 goldfish\n",
    "cat\ndog\nÄffchen\n猫\n",
    "\ufeffname\tlabel\na/1.jpg\t0\n",
    json.dumps({"0": ["n01440764", "tench"], "1": ["n01443537", "goldfish"]}),
    json.dumps({"cat": 0, "dog": 1}),
    json.dumps(["cat", "dog"]),
    "[" * 3000,
    '{"0": ' * 2000,
    '["cat", 1e999, NaN, ' + "9" * 5000 + "]",
)


class Texts:
    """CSV, JSON, text and Parquet."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        stream = io.BytesIO()
        pq.write_table(pa.table({"name": ["a/1.jpg", "a/2.jpg"], "label": [1, 2]}), stream)
        self._corpus = [*(text.encode() for text in _TEXTS), stream.getvalue()]

    def try_one(self, dice: random.Random) -> Outcome:
        """One mutated file, as labels and as names."""
        data = mutated(dice.choice(self._corpus), dice, self._corpus)
        if dice.random() < 0.3:
            data = _other_words(data, dice)
        file = str(self._folder / dice.choice(("x.csv", "x.json", "x.txt", "x.parquet")))
        Path(file).write_bytes(data)
        read = 0
        for use in (_as_labels, _as_members, load_class_names):
            try:
                use(file)
                read += 1
            except RequestError as error:
                require_sentence(str(error), file)
        return Outcome.USABLE if read else Outcome.REFUSED


def _as_labels(file: str) -> None:
    labels_of_files(load_labels(file), _KEYS, None)


def _as_members(file: str) -> None:
    labels_of_members(load_labels(file), None)


def _other_words(data: bytes, dice: random.Random) -> bytes:
    """Some digits or separators replaced by what is none, or is one of another kind."""
    words = (
        "²",
        "٣",
        "-1",
        "99999999999999999999",
        "",
        '"',
        "\r",
        "\x1b[31m",
        "\u2028",
        ",",
        "nan",
    )
    text = data.decode("utf-8", "replace")
    old = dice.choice('01,;\n"ae')
    return text.replace(old, dice.choice(words), dice.randint(1, 4)).encode()
