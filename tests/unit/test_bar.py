"""The line of progress: when it is there, what it says, and that it goes."""

from __future__ import annotations

import pytest

from weighbridge.entrypoints.cli import bar
from weighbridge.entrypoints.cli.bar import Bar


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bar, "_QUIET_SECONDS", 0.0)


def last_line(text: str) -> str:
    """What a terminal shows after it."""
    return text.rpartition("\r")[2].strip()


def test_nothing_is_said_of_what_is_quick(capsys: pytest.CaptureFixture[str]) -> None:
    shown = Bar()
    shown("converting", 1, 2)
    shown("hashing", 1 << 20, 1 << 30)
    shown.close()
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("at_once")
def test_a_stage_of_few_items_says_its_name_and_its_place(
    capsys: pytest.CaptureFixture[str],
) -> None:
    shown = Bar()
    shown("proving logits: the base model in MLX", 1, 6)
    assert last_line(capsys.readouterr().err) == (
        "[1/6] proving logits: the base model in MLX ... 00:00"
    )
    shown("proving logits: the LoRA in MLX", 2, 6)
    text = capsys.readouterr().err
    assert last_line(text) == "[2/6] proving logits: the LoRA in MLX ... 00:00"
    shown("proving logits: the LoRA in MLX", 6, 6)
    assert last_line(capsys.readouterr().err) == ""


@pytest.mark.usefixtures("at_once")
def test_the_seconds_run_from_the_beginning_of_the_stage(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bar, "_REDRAW_SECONDS", 0.0)
    shown = Bar()
    shown("waiting", 0, 1)
    assert last_line(capsys.readouterr().err) == "waiting ... 00:00"
    shown._line.start_t -= 95
    shown("waiting", 0, 1)
    assert last_line(capsys.readouterr().err) == "waiting ... 01:35"
    shown.close()


@pytest.mark.usefixtures("at_once")
def test_bytes_have_a_rate_and_a_new_stage_takes_the_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    shown = Bar()
    shown("hashing", 512 << 20, 1 << 30)
    assert "hashing:  50%" in last_line(capsys.readouterr().err)
    shown("sending", 0, 1 << 30)
    text = capsys.readouterr().err
    assert "sending:   0%" in last_line(text) and "hashing" not in last_line(text)
    shown.close()
    assert last_line(capsys.readouterr().err) == ""
    shown.close()


@pytest.mark.usefixtures("at_once")
def test_less_to_do_than_was_said(capsys: pytest.CaptureFixture[str]) -> None:
    """A server that has half of it already says so after the upload began."""
    shown = Bar()
    shown("sending", 0, 1 << 30)
    shown._drawn -= 1
    shown("sending", 128 << 20, 256 << 20)
    assert "sending:  50%" in last_line(capsys.readouterr().err)
    shown.close()


@pytest.mark.usefixtures("at_once")
def test_the_first_rate_of_a_stage_counts_from_the_last_word(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Told only of what is done, a stage had a rate of hundreds of gigabytes a second."""
    shown = Bar()
    shown._told -= 200
    shown("converting", 8 << 20, 1 << 30)
    assert ", 41." in last_line(capsys.readouterr().err)
    shown.close()
