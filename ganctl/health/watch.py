"""Watches a training: one line when a sickness begins and one when it ends, with what may help. No torch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, MutableMapping
from statistics import median
from typing import Any, NamedTuple

from ganctl.config import Settings
from ganctl.errors import plain
from ganctl.health.course import Course, Look
from ganctl.health.remedies import advice
from ganctl.health.sicknesses import SICKNESSES, beyond

PATIENCE = 4
"""Looks in a row that must agree that a sickness is there, or that it is not, before anything is said."""

NOT_FINITE, NEVER_AGAIN = "not-finite", 2
"""The event that ends a training, and the looks in a row at losses or gradients that are not finite which it takes.

In half precision one such look is nothing: the scale of the loss was too large, and has been halved."""

BEST_LONG_PAST, LONG, WORSE = "best-long-past", 5, (0.2, 0.1)
"""The event of metrics, the evaluations since the best, and by what share of it the last ones are worse."""


class Event(NamedTuple):
    """A sickness begins or ends."""

    name: str
    """Such as ``mode-collapse``."""
    begins: bool
    text: str
    """One line for people."""

    def row(self, step: int, epoch: int, images: int) -> dict[str, Any]:
        """Return the row of metrics.jsonl that records it."""
        place = {"kind": "health", "step": step, "epoch": epoch, "images": images}
        return place | {"event": self.name, "state": "begins" if self.begins else "ends", "text": self.text}


class Watch:
    """Takes in looks and metrics, and tells of events. *state*, of plain values, is all that it remembers."""

    def __init__(self, settings: Settings, state: MutableMapping[str, Any]) -> None:
        self._settings = settings
        self._course = Course(state.setdefault("course", {}))
        self._cases: dict[str, dict[str, Any]] = state.setdefault("cases", {})
        self._best: dict[str, Any] = state.setdefault("best", {})

    def look(self, look: Look) -> list[Event]:
        """Take in the next look, and return what begins and what ends with it."""
        self._course.add(look)
        return list(self._events(look))

    def _events(self, look: Look) -> Iterator[Event]:
        explained = False
        for sickness in SICKNESSES:
            verdict = sickness.judge(self._course)
            case = self._cases.setdefault(sickness.name, {"sick": False, "looks": 0, "since": 0})
            may_begin = not explained and look.step >= sickness.start
            # What is too early to be told explains what follows from it nonetheless.
            explained |= bool(verdict or case["sick"])
            if not may_begin and not case["sick"]:
                verdict = None
            if verdict is None or verdict == case["sick"]:
                case["looks"] = 0
                continue
            if not case["looks"]:
                case["since"] = look.epoch
            case["looks"] += 1
            if case["looks"] == PATIENCE:
                case |= {"sick": verdict, "looks": 0}
                text = f"{'since' if verdict else 'over since'} epoch {case['since']}: {sickness.finding(self._course)}"
                if verdict:
                    text += f"; likely {sickness.cause}; {self._advice(sickness.name)}"
                yield Event(sickness.name, verdict, f"{sickness.title} {text}")

    @property
    def best(self) -> Mapping[str, Any] | None:
        """The row of kind "metric" that was the best by its protocol so far."""
        return self._best.get("row")

    @property
    def worse(self) -> float:
        """By what share of the best the median of the last three metrics is worse."""
        # Figures that come near zero, or below, have no shares: a tenth of the first one is as small as it gets.
        cost = _cost(self._best["row"])
        return (median(self._best["last"]) - cost) / max(abs(cost), self._best["scale"] / 10, 1e-9)

    def metric(self, row: Mapping[str, Any]) -> list[Event]:
        """Take in a row of kind "metric", and return what it begins or ends. The first metric of a run counts."""
        best, value = self._best, row["value"]
        if not math.isfinite(value) or (self.best and self.best["name"] != row["name"]):
            return []
        if self.best and self.best.get("protocol") != row.get("protocol"):
            best.clear()  # what another protocol said cannot be compared with this
        best["last"] = [*best.get("last", ()), _cost(row)][-3:]
        if self.best is None or _cost(row) < _cost(self.best):
            best |= {"row": dict(row), "since": 0, "scale": best.get("scale", abs(value))}
        else:
            best["since"] += 1
        past = best["since"] >= LONG and beyond(self.worse, *WORSE)
        sick, name = best.get("sick", False), plain(row["name"])
        if not sick and past:
            best["sick"] = True
            now = _sign(row) * median(best["last"])
            text = (
                f"the best is long past: {name} was {best['row']['value']:.4g} in epoch {best['row']['epoch']} and is "
                f"{now:.4g}, {self.worse:.0%} worse; likely it has trained enough; {self._advice(BEST_LONG_PAST)}"
            )
            return [Event(BEST_LONG_PAST, True, text)]
        if sick and past is False:
            best["sick"] = False
            text = f"the best is not past any more: {name} is {value:.4g} in epoch {row['epoch']}"
            return [Event(BEST_LONG_PAST, False, text)]
        return []

    @property
    def diverged(self) -> bool:
        """Whether losses or gradients have not been finite for several looks."""
        last = self._course.looks[-NEVER_AGAIN:]
        return len(last) == NEVER_AGAIN and not any(look.finite for look in last)

    def not_finite(self, step: int, epoch: int) -> Event:
        """Return the event that ends a training whose numbers are not finite any more."""
        return Event(
            NOT_FINITE, True,
            f"training cannot go on from step {step}, epoch {epoch}: its numbers are not finite any more; likely steps "
            f"that are too large; {self._advice(NOT_FINITE)}",
        )  # fmt: skip

    def _advice(self, name: str) -> str:
        return advice(name, self._settings)


def _sign(row: Mapping[str, Any]) -> int:
    return 1 if row["lower_is_better"] else -1


def _cost(row: Mapping[str, Any]) -> float:
    """Return what is the lower, the better the metric in *row* is."""
    return float(_sign(row) * row["value"])
