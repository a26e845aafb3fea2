"""What sections are written from."""

from __future__ import annotations

from bts_tune.report.blocks import Paragraph, Picture
from bts_tune.results.ranking.leaderboard import ordered
from bts_tune.testing.runs import make_run, make_search
from bts_tune.testing.sections import context_of


def test_it_has_the_trials_in_order_with_their_names() -> None:
    trials = make_search(epochs=3)
    context = context_of(trials[::-1], make_run(profile="demo"))
    assert list(context.trials) == ordered(trials)
    assert context.names["unet-b0-s0"] == "unet-b0"
    assert "learning_rate" in context.varied
    assert context.tags == ["DEMO: generated phantoms, not a result"]


def test_a_picture_is_one_block() -> None:
    (block,) = context_of().picture("What it shows", "mine", lambda: b"png", photo=True)
    assert block == Picture("What it shows", "figures/mine.png", b"png", photo=True)


def test_nothing_to_draw_is_no_block() -> None:
    assert list(context_of().picture("What it shows", "mine", lambda: None)) == []


def test_a_picture_that_fails_is_a_sentence() -> None:
    def broken() -> bytes:
        raise ZeroDivisionError("no number")

    context = context_of()
    (block,) = context.picture("What it shows", "mine", broken)
    assert isinstance(block, Paragraph)
    assert block.spans == ("The figure mine failed: ZeroDivisionError: no number.",)
    assert context.failures.sentence == "INCOMPLETE REPORT: The figure mine failed: ZeroDivisionError: no number."
