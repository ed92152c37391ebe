"""The running account of a run: records in, `Progress` kept up to date. Bounded, whatever the length."""

from ptubench.engine.progress import Progress, Second
from ptubench.ptu import catalogue
from ptubench.record import SPILLED, Attempt, Dropped, Line, Tick


class Account:
    """Counts lines as they come."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self._in_flight: dict[int, int] = {}

    def at(self, now: float) -> None:
        """It is `now` seconds since the start."""
        progress = self.progress
        progress.now = now
        if progress.load_end is not None or now >= progress.duration:
            progress.phase = "drain"
        else:
            progress.phase = "warm-up" if progress.warmup is not None and now < progress.warmup else "load"

    def stop(self) -> None:
        """Nothing more is offered from now on, whatever the plan says."""
        if self.progress.load_end is None:
            self.progress.load_end = self.progress.now

    def add(self, line: Line) -> None:
        """Take one line of the run file."""
        if isinstance(line, Attempt):
            self._attempt(line)
        elif isinstance(line, Tick):
            self.progress.sent += line.sent
            self._second(line.t).sent += line.sent
            self._in_flight[line.worker] = line.in_flight
            self.progress.in_flight = sum(self._in_flight.values())
        elif isinstance(line, Dropped):
            self.progress.dropped += 1

    def _attempt(self, attempt: Attempt) -> None:
        progress, outcome = self.progress, attempt.outcome
        setattr(progress, outcome, getattr(progress, outcome) + 1)
        progress.again += attempt.attempt > 0
        spilled = SPILLED in attempt.headers
        progress.spilled += spilled
        if outcome != "cut":
            second = self._second(int(attempt.end or attempt.taken))
            setattr(second, outcome, getattr(second, outcome) + 1)
        progress.prompt_tokens += attempt.prompt_tokens or 0
        progress.completion_tokens += attempt.completion_tokens or 0
        if outcome == "ok" and attempt.sent is not None and not (attempt.diverted or spilled):
            ends = (attempt.first_content, attempt.first_output, attempt.last_content or attempt.end)
            for recent, end in zip(progress.recent.values(), ends, strict=True):
                if end is not None:
                    recent.append(end - attempt.sent)
            if progress.headline == "ttft" and (attempt.reasoning_tokens or catalogue.reasons(attempt.model or "")):
                progress.headline = "ttfo"
        if attempt.failure is not None:
            progress.failures[attempt.failure] = progress.failures.get(attempt.failure, 0) + 1

    def _second(self, t: int) -> Second:
        """The second of an event; events older than the kept minute count into its oldest second."""
        history = self.progress.history
        while not history or history[-1].t < t:
            history.append(Second(history[-1].t + 1 if history else t))
        return history[max(0, len(history) - 1 - (history[-1].t - t))]
