"""What an error says is one line, whatever is quoted in it."""

import pickle

import pytest

from pipeline.data.formats.reading import UnreadableError
from pipeline.errors import IncompleteError, RequestError, SampleError, one_line, shown


@pytest.mark.parametrize("kind", [RequestError, IncompleteError, SampleError, UnreadableError])
def test_an_error_is_one_line_that_a_terminal_can_print(kind: type[Exception]) -> None:
    error = kind("a.parquet: don't know what type: \x0e\nDeserializing failed.\n\x1b[31m")
    said = "a.parquet: don't know what type: \ufffd Deserializing failed. \ufffd[31m"
    assert str(error) == said
    assert str(pickle.loads(pickle.dumps(error))) == said


@pytest.mark.parametrize("text", ["two  spaces.jpg", "猫 の\u3000写真.jpg", "no\u00a0break", ""])
def test_names_in_it_stay_as_they_are(text: str) -> None:
    assert one_line(text) == text


def test_what_is_quoted_is_cut() -> None:
    assert shown("dog") == "dog"
    assert len(shown("9" * 100_000)) < 130
