"""The jobs, and what pyro has to reach in each: every bar is a ratio within one run."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Any

# In the order in which they are done.
JOBS = {
    "ingest": "cold ingest",
    "unchanged": "unchanged again",
    "v2": "next version, in place",
    "v2_copy": "next version, a fresh copy",
    "diff": "diff of both",
    "checkout": "whole checkout, not synced",
    "checkout_synced": "whole checkout, synced",
    "verify": "verify",
}
# Short, so they are measured more often, and once more on copies of the stores.
FAST = ("unchanged", "v2", "v2_copy", "diff", "verify")
# MB of 10^6 bytes, daemon and client together, in every row.
MEMORY = 150
# The payload is no larger than the smallest of these.
SMALL = ("restic", "rustic", "tar, zstd -3")
# What a next version adds, over its changed bytes as `zstd -3` writes them.
GROWTH = 1.2


@dataclass(frozen=True)
class Bar:
    """pyro's median beside that of the fastest of some rivals, on some corpora."""

    job: str
    rivals: tuple[str, ...]
    corpora: tuple[str, ...]
    # Rival's seconds over pyro's; None: told without a bar.
    at_least: float | None = None
    # pyro's seconds over the rival's.
    at_most: float | None = None
    # What the rivals do meanwhile, where it is not the same.
    rival_job: str = ""

    def beside(self) -> str:
        """The job of the rivals."""
        return self.rival_job or self.job


SOURCE, ALL = ("source",), ("source", "node", "binary")
BACKUPS = ("borg", "restic", "rustic")
BARS = [
    Bar("ingest", BACKUPS, SOURCE, at_least=6),
    Bar("ingest", BACKUPS, ("node", "binary")),
    Bar("ingest", ("tar, zstd -1",), ALL, at_least=1),
    Bar("unchanged", ("restic",), ALL, at_least=10),
    Bar("unchanged", ("git, packed",), SOURCE, at_most=1.5),
    Bar("v2", ("rustic",), SOURCE, at_least=5),
    Bar("v2_copy", ("rustic",), SOURCE),
    Bar("diff", ("git, packed",), SOURCE, at_least=1),
    Bar("checkout", ("cp -a",), ALL, at_most=1),
    Bar("checkout_synced", ("cp -a",), ALL, at_most=1, rival_job="checkout"),
    Bar("checkout_synced", ("cp -a",), ALL, at_most=1),
    Bar("verify", ("rustic",), ALL, at_least=2),
]


def repeats(tool: str, job: str, corpus: str) -> bool:
    """Whether a bar hangs on it: all else is measured in the first round only."""
    if tool == "pyro":
        return True
    for bar in BARS:
        decides = bar.at_least is not None or bar.at_most is not None
        if decides and corpus in bar.corpora and tool in bar.rivals and job == bar.beside():
            return True
    return False


@dataclass
class Verdict:
    """A bar and what was reached. `met` is None where there is no bar, or nothing to hold beside it."""

    what: str
    pyro: float | None
    rival: float | None
    beside: str
    ratio: float | None = None
    bar: str = ""
    met: bool | None = None


def median(part: dict[str, Any], tool: str, job: str) -> float | None:
    """The median of a cell's seconds, if it has any."""
    costs = part["costs"].get(tool, {}).get(job, [])
    return statistics.median(cost["seconds"] for cost in costs) if costs else None


def peak(part: dict[str, Any], tool: str, job: str) -> float | None:
    """The largest peak of a cell, in MiB, if it has any."""
    costs = part["costs"].get(tool, {}).get(job, [])
    return max(cost["peak_mib"] for cost in costs) if costs else None


def speed(corpus: str, part: dict[str, Any]) -> list[Verdict]:
    """The bars of time. Seconds."""
    verdicts = []
    for bar in BARS:
        if corpus not in bar.corpora:
            continue
        rivals = [
            (value, name)
            for name in bar.rivals
            if (value := median(part, name, bar.beside())) is not None
        ]
        pyro = median(part, "pyro", bar.job)
        rival, name = min(rivals) if rivals else (None, " or ".join(bar.rivals))
        if len(bar.rivals) > 1 and rivals:
            missing = [other for other in bar.rivals if other not in {found for _, found in rivals}]
            name += ", the fastest of " + ", ".join(found for _, found in sorted(rivals))
            name += f" (no figure for {', '.join(missing)})" if missing else ""
        if bar.beside() != bar.job:
            name += f" ({JOBS[bar.beside()].split(', ')[-1]})"
        verdict = Verdict(JOBS[bar.job], pyro, rival, name)
        if bar.at_least is not None:
            verdict.bar = f"≥ {bar.at_least:g}" if bar.at_least > 1 else "> 1"
        elif bar.at_most is not None:
            verdict.bar = f"≤ {bar.at_most:g}"
        if pyro is not None and rival is not None:
            verdict.ratio = pyro / rival if bar.at_most is not None else rival / pyro
            if bar.at_most is not None:
                verdict.met = verdict.ratio <= bar.at_most
            elif bar.at_least is not None:
                verdict.met = (
                    verdict.ratio >= bar.at_least if bar.at_least > 1 else verdict.ratio > 1
                )
        verdicts.append(verdict)
    return verdicts


def size(part: dict[str, Any]) -> list[Verdict]:
    """The bars of size. Bytes."""
    sizes = part["sizes"]
    rivals = [(sizes[name]["payload"], name) for name in SMALL if name in sizes]
    pyro = sizes.get("pyro", {})
    verdicts = []
    rival, name = min(rivals) if rivals else (None, " or ".join(SMALL))
    if rivals:
        name += ", the smallest of " + ", ".join(found for _, found in sorted(rivals))
    held = Verdict("payload", pyro.get("payload"), rival, name, bar="≤ 1")
    if held.pyro is not None and rival:
        held.ratio = held.pyro / rival
        held.met = held.ratio <= 1
    verdicts.append(held)
    if "hasty" in pyro:
        held.what = "payload, tidied"
        hasty = Verdict("payload right after the ingest", pyro["hasty"], rival, name)
        hasty.ratio = pyro["hasty"] / rival if rival else None
        verdicts.append(hasty)
    if part.get("changed"):
        grown = Verdict(
            "next version adds", pyro.get("growth"), part["changed"], "its changed bytes, zstd -3"
        )
        grown.bar = f"≤ {GROWTH}"
        if grown.pyro is not None:
            grown.ratio = grown.pyro / part["changed"]
            grown.met = grown.ratio <= GROWTH
        verdicts.append(grown)
    return verdicts


def memory(part: dict[str, Any]) -> Verdict:
    """The row in which pyro held most. MB of 10^6 bytes."""
    peaks = [(value, job) for job in JOBS if (value := peak(part, "pyro", job)) is not None]
    if not peaks:
        return Verdict("peak memory", None, None, "", bar=f"< {MEMORY} MB")
    most, job = max(peaks)
    most = most * 1.048576
    return Verdict(
        "peak memory", most, None, f"in: {JOBS[job]}", None, f"< {MEMORY} MB", most < MEMORY
    )
