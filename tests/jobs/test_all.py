"""What is tried again, and what is not."""

import sys
from pathlib import Path

import pytest

from jobs.all import attempted
from pipeline.errors import TRIES

ENDS = {
    "done": ("exit 0", 0, 1),
    "incomplete": ("exit 1", 1, TRIES),
    "wrong": ("exit 2", 2, 1),
    "killed": ("kill -KILL $$", 1, TRIES),
    "stopped": ("kill -TERM $$", 1, 1),
    "stopped by Ray": ("exit 15", 1, 1),
    "done at last": ("[ $(wc -l < tries) = 2 ]", 0, 2),
}


@pytest.mark.parametrize("end", ENDS)
def test_only_what_may_help_is_tried_again(
    end: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    script, status, tries = ENDS[end]
    assert attempted(["sh", "-c", f"echo try >> tries; {script}"], pause=0) == status
    assert len(Path("tries").read_text().splitlines()) == tries


def test_a_configuration_is_wanted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from jobs.all import main

    monkeypatch.setattr(sys, "argv", ["all"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    assert "--config" in capsys.readouterr().err
