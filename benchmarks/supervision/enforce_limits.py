"""The time and memory limits of a case: check them, and give the reason if one is exceeded."""

from __future__ import annotations

from benchmarks.cases import Limits
from benchmarks.results.records import Outcome
from benchmarks.supervision.timeline import SCORING, Timeline

BETWEEN_PHASES_S = 120.0
"""Seconds that a case may spend outside its phases at a time: starting Python, scoring the model."""


def exceeded(timeline: Timeline, limits: Limits, began: float) -> tuple[Outcome, str] | None:
    """Return the outcome and the reason if the latest sample exceeds a limit, or None."""
    now = timeline.samples[-1]
    if now.memory_bytes > limits.memory_bytes:
        used, allowed = now.memory_bytes / 2**30, limits.memory_bytes / 2**30
        return "out-of-memory", f"the processes used {used:.2f} GiB of the {allowed:.2f} GiB allowed"
    if now.time - began > limits.case_s:
        return "timeout", f"the case took longer than its limit of {limits.case_s:g} s"
    call = timeline.calls[-1] if timeline.calls else None
    if call and call.ended is None and call.phase != SCORING:
        # The case starts no repeat that could exceed the limit, so only a first repeat gets here.
        if now.time - call.began > limits.time_s:
            return "timeout", f"{call.phase} took longer than the time limit of {limits.time_s:g} s"
        return None
    since = call.ended or call.began if call else began
    allowed_s = max(BETWEEN_PHASES_S, limits.time_s)
    if now.time - since > allowed_s:
        activity = "scoring the model" if call and call.phase == SCORING else "the time between two phases"
        return "timeout", f"{activity} took longer than {allowed_s:g} s"
    return None
