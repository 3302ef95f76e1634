"""The page: results to Markdown. Nothing is measured here."""

from __future__ import annotations

import pathlib
from typing import Any

from . import bars, page_parts
from .bars import JOBS, Verdict
from .rounds import CORPORA
from .text import amount, seconds, table

Part = dict[str, Any]
TITLES = {
    "source": "a kernel source tree",
    "node": "the installed packages of a large web application",
    "binary": "libraries, executables, archives of objects and a tar",
    "many": "a million small files",
    "large": "one large file: text, numbers and noise in turn",
}
NOTES = {
    "source": """The next version has 1 % of the files edited in the middle, 50 added, 50 deleted and 1 KiB inserted into the largest.
"In place": unchanged files are the same inodes. "A fresh copy": `cp -a` of it, every inode another, so all content has to be read again.
`git`: `git add --all` and `git commit`, loose objects. `git, packed`: `git status` and `git diff-tree` in a packed repository
of the same two trees, its index clean.""",
}


def cell(part: Part, tool: str, job: str) -> str:
    """Seconds and MiB; slanted where it was measured once only; a dash where it failed."""
    value, peak = bars.median(part, tool, job), bars.peak(part, tool, job)
    if value is None or peak is None:
        return "–" if job in part["failed"].get(tool, {}) else ""
    text = f"{value:.3f}" if value < 0.1 else f"{value:.2f}"
    single = len(part["costs"][tool][job]) == 1 and part["runs"] > 1
    return f"*{text} ({peak:.0f})*" if single else f"{text} ({peak:.0f})"


def costs_table(name: str, part: Part) -> str:
    """Jobs down, tools across."""
    tools = sorted({*part["costs"], *part["failed"]}, key=lambda tool: (tool != "pyro", tool))
    rows = []
    for job in CORPORA[name].jobs:
        cells = [cell(part, tool, job) for tool in tools]
        if any(cells):
            rows.append([JOBS[job], *cells])
    for key, title in [
        ("payload", "payload"),
        ("hasty", "payload right after the ingest"),
        ("directory", "its directory on disk"),
        ("growth", "next version adds"),
    ]:
        if any(key in sizes for sizes in part["sizes"].values()):
            sizes = [part["sizes"].get(tool, {}).get(key) for tool in tools]
            rows.append([title, *("" if size is None else amount(size) for size in sizes)])
    return table(["seconds (MiB at peak)", *tools], rows)


def verdict_rows(verdicts: list[Verdict], show: Any) -> list[list[str]]:
    """One row for each bar."""
    rows = []
    for verdict in verdicts:
        ratio = "" if verdict.ratio is None else f"{verdict.ratio:.2f}"
        state = {True: "met", False: "**not met**", None: "not measured" if verdict.bar else ""}[
            verdict.met
        ]
        pyro = "" if verdict.pyro is None else show(verdict.pyro)
        rival = "" if verdict.rival is None else show(verdict.rival)
        rows.append(
            [verdict.what, pyro, f"{rival} {verdict.beside}".strip(), ratio, verdict.bar, state]
        )
    return rows


def bars_table(name: str, part: Part) -> str:
    """Every bar, what was reached and whether that is enough."""
    rows = verdict_rows(bars.speed(name, part), seconds)
    rows += verdict_rows(bars.size(part), amount)
    rows += verdict_rows([bars.memory(part)], lambda value: f"{value:.0f} MB")
    return table(["", "pyro", "beside it", "ratio", "bar", ""], rows)


def failures(part: Part) -> str:
    """Why cells are empty."""
    lines = [
        f"- {tool}, {JOBS.get(what, what)}: {reason}."
        for tool, reasons in part["failed"].items()
        for what, reason in reasons.items()
    ]
    return "\n\nNot measured:\n\n" + "\n".join(lines) if lines else ""


def tidying(part: Part) -> str:
    """What an idle daemon does, here asked for by `pyro store gc`."""
    sizes = part["sizes"].get("pyro", {})
    if "tidied_ms" not in sizes:
        return ""
    return (
        "\n\npyro's payload is that of a tidied store, and so are the stores of all jobs after the ingest: an idle daemon "
        "writes what was stored in haste again, smaller, some seconds after the ingest. Here `pyro store gc` did it at once, "
        f"untimed, so that it would not go on while others were timed; it took {seconds(sizes['tidied_ms'] / 1000)} and "
        f"{sizes['tidied_mib'] * 1.048576:.0f} MB of memory at its peak."
    )


def measured(part: Part) -> str:
    """When, how and how often."""
    runs, fast = part["runs"], part.get("fast_runs", part["runs"])
    often = "once" if runs == 1 else f"the median of {runs} rounds"
    if fast != runs:
        often += f", of {fast} for what is short"
    return (
        f"Measured on {part['date']} with `{part['command']}`, {often}; load average {part['load']:.1f} before it; "
        f"{part['pyro']}."
    )


def corpus_section(name: str, part: Part) -> str:
    """A corpus: its bars, then all that was measured."""
    note = f"\n\n{NOTES[name]}" if name in NOTES else ""
    slanted = ", *slanted* where it was measured once" if part["runs"] > 1 else ""
    return f"""## `{name}`: {TITLES[name]}, {part["files"]:,} files, {amount(part["bytes"])}

{measured(part)}{note}

{bars_table(name, part)}

Medians{slanted}; the memory is the highest of all rounds.

{costs_table(name, part)}{tidying(part)}{failures(part)}
"""


def render(results: dict[str, Any], limits: str) -> str:
    """The whole page, of what has been measured so far."""
    machine, parts = results["machine"], results["parts"]
    verdicts = [
        verdict
        for name in CORPORA
        if name in parts
        for verdict in [
            *bars.speed(name, parts[name]),
            *bars.size(parts[name]),
            bars.memory(parts[name]),
        ]
        if verdict.bar
    ]
    met = sum(verdict.met is True for verdict in verdicts)
    unknown = sum(verdict.met is None for verdict in verdicts)
    reached = f"{met} of {len(verdicts)} bars are met"
    reached += f", {unknown} not measured" if unknown else ""
    sections = [corpus_section(name, parts[name]) for name in CORPORA if name in parts]
    sections.append(f"## What limits each step\n\n{limits.strip()}\n")
    if "vm" in parts:
        sections.append(page_parts.workspaces(parts["vm"], measured(parts["vm"])))
        if "dirs" in parts["vm"]["rounds"][0]:
            sections.append(page_parts.moments(parts["vm"]))
    if "boot" in parts:
        sections.append(page_parts.boots(parts["boot"], measured(parts["boot"])))
    if "mcp" in parts:
        sections.append(page_parts.mcp(parts["mcp"], measured(parts["mcp"])))
    return page_parts.head(machine, reached) + "\n" + "\n".join(sections)


def write(results: dict[str, Any], out: pathlib.Path) -> None:
    """The page beside the numbers it is made of."""
    limits = pathlib.Path(__file__).with_name("limits.md").read_text()
    out.write_text(render(results, limits))
