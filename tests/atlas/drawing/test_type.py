"""Type in scripts that matplotlib's own font lacks: another font, or a word about it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib.font_manager import fontManager

from pipeline.atlas.drawing import type as type_of_pages
from pipeline.atlas.drawing.page import Page
from pipeline.atlas.drawing.style import POINT
from pipeline.atlas.drawing.type import families, text_width, unreadable

CAT, DOG = "猫", "犬"


def font(path: Path, name: str, characters: str) -> Path:
    """A TrueType font in which each of the characters is a square, twice as wide as usual."""
    pen = TTGlyphPen(None)
    pen.moveTo((100, 0))
    for corner in ((100, 1800), (1900, 1800), (1900, 0)):
        pen.lineTo(corner)
    pen.closePath()
    glyphs = [".notdef", *(f"u{ord(c):X}" for c in characters)]
    builder = FontBuilder(1000)
    builder.setupGlyphOrder(glyphs)
    builder.setupCharacterMap({ord(c): f"u{ord(c):X}" for c in characters})
    builder.setupGlyf(dict.fromkeys(glyphs, pen.glyph()))
    builder.setupHorizontalMetrics(dict.fromkeys(glyphs, (2000, 100)))
    builder.setupHorizontalHeader(ascent=1800, descent=-200)
    builder.setupNameTable({"familyName": name, "styleName": "Regular", "psName": name})
    builder.setupOS2(sTypoAscender=1800, usWinAscent=1800, usWinDescent=200)
    builder.setupPost()
    builder.save(path)
    return path


@pytest.fixture
def nothing_remembered() -> Iterator[None]:
    """Fonts as matplotlib has them, before and after."""
    before = list(fontManager.ttflist)
    remembered = (type_of_pages._lacking, type_of_pages._others, text_width)
    for function in remembered:
        function.cache_clear()
    fontManager.ttflist[:] = [entry for entry in before if entry.name == "DejaVu Sans"]
    yield
    fontManager.ttflist[:] = before
    fontManager._findfont_cached.cache_clear()
    for function in remembered:
        function.cache_clear()


@pytest.fixture
def installed(nothing_remembered: None, tmp_path: Path) -> None:
    """Two fonts, of which one has more."""
    fontManager.addfont(font(tmp_path / "little.ttf", "Aaa Little", CAT))
    fontManager.addfont(font(tmp_path / "large.ttf", "Large", CAT + DOG))


def test_the_usual_font_is_enough_for_much() -> None:
    for text in ("tench, Tinca tinca", "Übergröße № 5 – ×", "кошка γάτα قط", "a\tb\n", ""):
        assert families(text) == ["DejaVu Sans"]
    assert unreadable(["tench", "кошка"]) == ""


@pytest.mark.usefixtures("installed")
def test_another_font_for_what_is_lacking() -> None:
    assert families(f"tench {CAT}{DOG}") == ["DejaVu Sans", "Large"]
    assert families("tench") == ["DejaVu Sans"]
    assert unreadable([CAT, DOG]) == ""
    assert text_width(CAT, 10) == pytest.approx(2 * 10 * POINT, rel=0.01)


@pytest.mark.usefixtures("installed")
def test_a_page_is_set_in_it() -> None:
    page = Page(60, 20)
    page.text(5, 5, f"{CAT}{DOG} cat", 12)
    pdf = page.save("pdf")
    assert b"+Large" in pdf
    assert b"+DejaVuSans" in pdf
    assert page.save("png") != Page(60, 20).save("png")


@pytest.mark.usefixtures("nothing_remembered")
def test_a_font_installed_since_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Matplotlib keeps its list of fonts from one process to the next."""
    place = font(tmp_path / "new.ttf", "New", CAT)
    monkeypatch.setattr(type_of_pages, "findSystemFonts", lambda: [str(place), "gone.ttf"])
    assert families(CAT)[1] == "New"


@pytest.mark.usefixtures("installed")
def test_what_no_font_has_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type_of_pages, "findSystemFonts", list)
    assert unreadable([f"鯨{CAT}\ufe0f", "tench", f"{DOG} 馬"]) == "馬鯨"


def test_what_no_font_has_is_drawn_without_a_warning_each() -> None:
    """Warnings are errors here; that no font has it is said in one line, by who asks."""
    page = Page(60, 20)
    page.text(5, 5, "a\t\U000e0041\U0001fbfa\ue123", 8)
    assert page.axes.texts[0].get_text().startswith("a  □")
    assert page.texts == ["a\t\U000e0041\U0001fbfa\ue123"]
    assert set(page.figures()) == {"png", "pdf"}
