"""Files of parts: both forms, and one sentence for what is none."""

from pathlib import Path

import pandas as pd
import pytest

from pipeline.data.demo.images import CLASS_NAMES, draw, label_of
from pipeline.data.object_parts import WHOLE, Parted, as_csv, read_object_parts
from pipeline.errors import RequestError

ROWS = pd.DataFrame(
    {
        "image": ["7", "7", "dog.jpg"],
        "part": ["eye", "nose", "eye"],
        "top": [10, 20, 1.5],
        "left": [30, 40, 2],
        "bottom": [12, 30, 4],
        "right": [40, 50, 9],
        "remark": ["x", "y", "z"],
    }
)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_both_forms(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"parts.{kind}"
    ROWS.to_csv(path, index=False) if kind == "csv" else ROWS.to_parquet(path)
    first, second = read_object_parts(str(path))
    assert first == Parted("7", {"eye": (10, 30, 12, 40), "nose": (20, 40, 30, 50)})
    assert second.parts == {"eye": (1.5, 2, 4, 9)}
    assert first.whole == (5, 25, 35, 55)  # a quarter wider on each side
    assert Parted("", {WHOLE: (1, 2, 3, 4), "eye": (1, 1, 2, 2)}).whole == (1, 2, 3, 4)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("image,part\n1,eye\n", "no file of parts"),
        ("image,part,top,left,bottom,right\n1,eye,a,2,3,4\n", "no file of parts"),
        ("image,part,top,left,bottom,right\n1,eye,5,2,5,4\n", "row 1 has no pixels"),
        ("image,part,top,left,bottom,right\n1,eye,1,2,5,4\n1,eye,1,2,5,4\n", "once more"),
        ("PAR1 but not really", "no file of parts"),
    ],
)
def test_what_is_no_such_file_is_a_sentence(tmp_path: Path, content: str, reason: str) -> None:
    path = tmp_path / "parts.csv"
    path.write_text(content)
    with pytest.raises(RequestError, match=reason):
        read_object_parts(str(path))
    with pytest.raises(RequestError, match=r"nowhere\.csv cannot be read: .*check the address"):
        read_object_parts(str(tmp_path / "nowhere.csv"))


def test_faces_know_their_parts(tmp_path: Path) -> None:
    """An eye has its white and its dark; left is where it is seen, mirrored faces too."""
    faces = [n for n in range(200) if CLASS_NAMES[label_of(n)] == "faces"][:10]
    for number in faces:
        picture = draw(number)
        assert set(picture.parts) == {WHOLE, "left eye", "right eye", "nose", "mouth"}
        assert picture.parts["left eye"][1] < picture.parts["right eye"][1]
        grey = picture.image.convert("L")
        for eye in ("left eye", "right eye"):
            top, left, bottom, right = map(round, picture.parts[eye])
            seen = grey.crop((left, top, right, bottom)).getextrema()
            if left >= 0 and right <= grey.width and top >= 0 and bottom <= grey.height:
                assert seen[1] - seen[0] > 90
    assert not draw(next(n for n in range(99) if n not in faces)).parts
    (tmp_path / "parts.csv").write_bytes(as_csv([Parted("4", draw(faces[0]).parts)]))
    (again,) = read_object_parts(str(tmp_path / "parts.csv"))
    for part, box in draw(faces[0]).parts.items():
        assert again.parts[part] == pytest.approx(box, abs=0.5)
