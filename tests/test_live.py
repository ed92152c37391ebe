"""The live view: what it says of a run, how often, and where."""

import io

import pytest
from rich.console import Console

import runs
from goldens import golden, shown
from ptubench.engine.account import Account
from ptubench.engine.progress import Progress, Second, before
from ptubench.report import live


def progress(**changes: object):
    """A run in the middle of its load: 20 calls a second, a quarter of the last ten seconds' refused."""
    seen = Progress(duration=30, warmup=3, drain=60, planned=600, now=20.4, phase="load")
    seen.sent, seen.ok, seen.throttled, seen.in_flight = 408, 300, 50, 58
    seen.history.extend(
        Second(t=t, sent=20, ok=15 if t >= 10 else 20, throttled=5 if t >= 10 else 0) for t in range(21)
    )
    seen.recent["ttft"].extend([0.1, 0.102, 0.3])
    for name, value in changes.items():
        setattr(seen, name, value)
    return seen


class Clock:
    """Seconds that a test moves."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def console(*, terminal):
    """A console on a string."""
    return Console(file=io.StringIO(), force_terminal=terminal, width=80, color_system=None, _environ={"TERM": "xterm"})


def test_a_line_tells_time_rates_and_losses():
    assert live.line(progress(failed=2)) == (
        "load: 20s of 30s, 10s left; 1,200 calls/min; 429 25.0 % of the last 10 s, 14.2 % in all; 58 in flight; "
        "ttft p50 102 ms; 2 failed"
    )


def test_answers_that_are_not_streamed_have_no_first_content_to_tell():
    account = Account(before(runs.head(stream=False).workload, planned=1))
    account.add(runs.ok(0, 1.0, e2e=0.7, first_content=None, first_output=None, last_content=None))

    assert "; e2e p50 700 ms" in live.line(progress(recent=account.progress.recent, headline=account.progress.headline))


def test_what_was_spilled_stands_beside_the_429s_that_it_hides():
    seen = progress(spilled=1234)

    assert "14.3 % in all, 1,234 spilled; " in live.line(seen)
    assert "14.3 % in all, 1,234 spilled" in shown(live.rows(live.title("azure", "w", "x"), seen))


@pytest.mark.parametrize(
    ("changes", "begin"),
    [
        ({"phase": "probing", "now": 0.0}, "probing: before the load"),
        ({"phase": "warm-up", "now": 0.4}, "warm-up: 0s of 30s, 30s left"),
        ({"phase": "drain", "now": 31.0}, "drain: at most 59s for 58 in flight; "),
    ],
)
def test_a_line_begins_with_the_phase_and_what_is_left(changes, begin):
    assert live.line(progress(**changes)).startswith(begin)


def test_a_line_is_plain_ascii_in_any_state():
    states = [progress(), Progress(duration=30, warmup=3, drain=60, planned=None), progress(recent={"ttft": [1e-5]})]

    assert all(live.line(state).isascii() for state in states)


def test_the_second_that_is_still_filling_up_does_not_lower_the_rate():
    seen = progress()
    seen.history[-1].sent = 1

    assert "1,200 calls/min" in live.line(seen)


@pytest.mark.parametrize("width", [80, 120])
def test_the_view_looks_as_reviewed(width):
    view = shown(live.rows(live.title("simulated", "demo", "gpt-4.1 of 500 PTU"), progress(failed=2)), width=width)

    assert view == golden(f"live-{width}", view)


def test_a_hostile_title_is_inert():
    view = shown(live.rows(live.title("azure", "\x1b[2J[red]x[/red]", "\u202e" * 10_000), progress()))

    assert "\x1b" not in view
    assert "\u202e" not in view
    assert "[red]x[/red]" in view


def test_a_console_without_unicode_gets_a_view_too():
    view = shown(live.rows(live.title("simulated", "demo", "x"), progress()), encoding="ascii")

    assert "sent/s     @@@@@@@@@@@@@@@@@@@@" in view


def test_elsewhere_than_on_a_terminal_a_line_comes_every_five_seconds():
    clock, out = Clock(), console(terminal=False)

    with live.View(out, live.title("simulated", "demo", "x"), clock=clock) as view:
        for clock.now in range(21):
            view.update(progress())

    assert out.file.getvalue().splitlines() == [live.line(progress())] * 5


def test_a_terminal_is_redrawn_at_most_four_times_a_second_and_left_clean():
    clock, out = Clock(), console(terminal=True)

    with live.View(out, live.title("simulated", "demo", "x"), clock=clock) as view:
        for step in range(1000):
            clock.now = step / 1000
            view.update(progress())
    text = out.file.getvalue()

    assert text.count("SIMULATED") == 5  # four, and the last one again before it is erased
    assert text.rstrip("\n").endswith("\x1b[2K")  # the view's first row erased
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") == 1  # the cursor is back


def test_a_dumb_terminal_gets_lines():
    out = Console(file=io.StringIO(), force_terminal=True, color_system=None, _environ={"TERM": "dumb"})

    with live.View(out, live.title("simulated", "demo", "x"), clock=Clock()) as view:
        view.update(progress())

    assert out.file.getvalue() == live.line(progress()) + "\n"
