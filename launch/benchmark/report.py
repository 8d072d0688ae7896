"""Benchmarks as tables, and beside those of an earlier file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from launch.benchmark.machine import BOUNDS, seconds_for
from pax.errors import ConfigError
from pax.metrics.tables import markdown
from pax.run.files import read_regular

FORMAT = 1
COUNTED = (
    "its products, functions and draws one after the other, at the speeds of the machine's bounds"
)
SAME = ("cpu", "cores", "device", "num_devices", "platform")
"""What must agree if two files are to be compared."""
TITLES = {
    "machine": "The machine's bounds",
    "envs": "Raw stepping",
    "training": "Training",
    "startup": "Startup",
    "peers": "Peers",
    "devices": "One seed on several devices",
    "agreement": "Agreement of CPU and GPU",
    "filling": "Training that fills the card",
    "kernels": "Kernels",
}
_SETTING = {"steps/s": "{speed}", "limit": "{limit_speed}", "fraction of limit": "{fraction}"}
_COMPILE = {"compile, s": "{details[compile_seconds]:.1f}"}
COLUMNS: Mapping[str, Mapping[str, str]] = {
    "machine": {"": "{name}", "speed": "{speed} {unit}", "what": "{what}"},
    "envs": {"game": "{name}", **_SETTING, **_COMPILE, "": "{what}"},
    "training": {
        **{"setting": "{name}", "steps/s": "{speed}", "aim": "{aim}", **_SETTING, **_COMPILE},
        "peak memory, MiB": "{details[peak_memory_mib]:.0f}",
        "temporaries, MiB": "{details[temporary_mib]:.1f}",
    },
    "startup": {
        **{"": "{name}", "time": "{speed} s", "aim": "{details[aim]:g} s"},
        "processor time to the first iteration": "{details[processor_seconds]:.2f} s",
        "what": "{what}",
    },
    "peers": {
        **{"": "{name}", "ours": "{speed} {unit}", "peer": "{peer[name]}: {peer_speed}"},
        **{"ours / peer": "{ratio}", "what": "{what}"},
    },
    "devices": {
        **{
            "setting": "{name}",
            "steps/s": "{speed}",
            "times one device": "{details[times_one]:.2f}",
        },
        "what": "{what}",
    },
    "agreement": {
        **{
            "": "{name}",
            "largest difference": "{median:.1e}",
            "allowed": "{details[tolerance]:.0e}",
        },
        **{"difference at the default precision": "{details[by_default]}", "what": "{what}"},
    },
    "filling": {
        **{"setting": "{name}", "steps/s": "{speed}", **_COMPILE},
        "predicted, MiB": "{details[program_mib]:.1f}",
        "taken, MiB": "{details[peak_memory_mib]:.0f}",
        "times the rate of the size before": "{gain}",
        "why no larger size follows": "{ended}",
    },
    "kernels": {
        **{"setting": "{name}", "kernels per step": "{median:.1f}"},
        "microseconds per step": "{details[microseconds_per_step]:.1f}",
        "microseconds per kernel": "{details[microseconds_per_kernel]:.2f}",
        "no kernel": "{details[idle]:.0%}",
        "short ones": "{details[short]:.0%}",
        "longer ones": "{details[long]:.0%}",
        **{"bound by": "{details[bound]}", "what": "{what}"},
    },
}
"""By suite and column, what it shows of a row and of what `shown` adds to it."""
STEPS = "Steps are steps of one environment, whatever its number of players."
NOTES = {
    "envs": STEPS,
    "agreement": "The first column names what was computed on both kinds of devices, with products in full "
    "precision. Differences are relative where a metric exceeds 1. At the default precision, where products "
    "of GPUs have ten bits, nothing has to agree.",
    "filling": "Each setting at its own size, and with so many times (x16) as many candidates or seeds. "
    "Memory is what the compiler predicts for the program, and the most that the device (a CPU: the process) "
    f"had in use. {STEPS}",
    "kernels": "A kernel is one operation that the device was told to run. Percentages are shares of the "
    "time from the first kernel to the last: in which none runs, in which only ones below 5 microseconds "
    "do, and in which longer ones do.",
}
"""By suite, what a table needs to be read."""
REHEARSAL = (
    "**A rehearsal**: CPU devices stand in for a GPU, and all sizes are small. The numbers mean "
    "nothing."
)
QUICK = "**A quick look** at a small part of the work: the numbers mean nothing."
BUSY = 0.5
"""A load per core above which a table says that the machine was busy."""
STOLEN = 0.1
"""A share of the time of its cores that others had, above which it says so too."""


def read(path: str) -> dict[str, Any]:
    """Reads a file that `--output` wrote.

    Raises:
        ConfigError: if it is none.
    """
    try:
        results = json.loads(read_regular(path))
    except (OSError, ValueError) as e:
        raise ConfigError(f"--compare={path} cannot be read ({e}): name a file of --output") from e
    if not isinstance(results, dict) or results.get("format") != FORMAT:
        raise ConfigError(
            f"--compare={path} holds no results of launch.benchmark: name a file of --output"
        )
    return results


def differences(new: Mapping[str, Any], old: Mapping[str, Any]) -> list[str]:
    """Returns why two files cannot be compared as they stand, in sentences."""
    found = [
        f"The machine differs: {key} is {new['machine'].get(key)!r}, and was {old['machine'].get(key)!r}."
        for key in SAME
        if new["machine"].get(key) != old["machine"].get(key)
    ]
    own, other = (
        {k: r["settings"].get(k) for k in ("scale", "quick", "num_envs")} for r in (new, old)
    )
    if own != other:
        found.append(f"The sizes differ: {own}, and were {other}.")
    return found


def to_markdown(results: Mapping[str, Any]) -> str:
    """Returns all tables, with what they were measured on."""
    rows = with_limits(results["rows"])
    settings = results.get("settings", {})
    is_small = settings.get("rehearse") or settings.get("quick")
    parts = [REHEARSAL if settings.get("rehearse") else QUICK] if is_small else []
    parts.append(machine_text(results["machine"]))
    if waiting := results.get("waiting"):
        parts.append(f"**Not all is measured**: {len(waiting)} are missing, {'; '.join(waiting)}.")
    for suite, title in TITLES.items():
        own = [row for row in rows if row["suite"] == suite]
        if suite == "filling" and own:
            # From the setting's own size on.
            own = [row for row in rows if row["suite"] in (suite, "training")]
        if own:
            parts += [f"### {title}\n\n{table(suite, own)}", *limit_notes(own)]
    parts += bounds(rows, results["machine"])
    slower = [row for row in rows if row["peer"] and ratio(row) < 1.0]
    parts += [
        f"Slower than {row['peer']['name']}: {row['name']}, at {ratio(row):.2f} times its speed."
        for row in slower
    ]
    for title, sentences in (
        ("Left out", results["skipped"]),
        ("Failed", results.get("failed")),
    ):
        if sentences:
            parts.append("\n".join([f"### {title}\n", *(f"- {each}" for each in sentences)]))
    return "\n\n".join(parts)


def with_limits(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Returns rows in which training that has no limit of its own has that of the machine, if it is known."""
    machine = {row["name"]: row["median"] for row in rows if row["suite"] == "machine"}
    found = []
    for row in map(dict, rows):
        per_step = row["details"].get("per_step")
        if row["limit"] is None and per_step and set(BOUNDS) <= set(machine):
            seconds = sum(seconds_for(per_step, machine).values())
            row["limit"] = {"median": 1.0 / max(seconds, 1e-12), "what": COUNTED}
        found.append(row)
    return found


def is_busy(machine: Mapping[str, Any]) -> bool:
    """Returns whether others were using the machine, or the host that it is a part of."""
    return machine["load_at_start"] / machine["cores"] > BUSY or machine.get("stolen", 0.0) > STOLEN


def machine_text(machine: Mapping[str, Any]) -> str:
    """Describes the machine in one paragraph."""
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    stolen = ""
    if machine.get("stolen"):
        stolen = f" Its host gave {machine['stolen']:.1%} of its cores' time to others."
    busy = " The machine was busy: figures are lower than on an idle one." * is_busy(machine)
    return (
        f"{machine['cores']} cores ({machine['cpu']}), {machine['memory_gib']} GiB, {machine['num_devices']} "
        f"devices ({machine['device']}), Python {machine['python']}, {versions}; load at the start "
        f"{machine['load_at_start']:.2f}.{stolen}{busy} Medians, with the range in brackets."
    )


def ratio(row: Mapping[str, Any]) -> float:
    """Ours to the peer's."""
    return row["median"] / row["peer"]["median"]


def table(suite: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """Returns the table of a suite."""
    columns = COLUMNS[suite]
    lines = [[form.format(**shown(row)) for form in columns.values()] for row in rows]
    note = f"\n\n{NOTES[suite]}" if suite in NOTES else ""
    return markdown([*columns], lines) + note


def shown(row: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a row with what its table says of its numbers."""
    aim, limit, peer = row["details"].get("aim"), row["limit"], row["peer"]
    return {
        **row,
        "speed": ranged(row),
        "aim": short(aim) if aim else "",
        "limit_speed": short(limit["median"]) if limit else "",
        "fraction": fraction(row),
        "peer_speed": ranged(peer) if peer else "",
        "ratio": f"{ratio(row):.2f}{verdict(row)}" if peer else "",
        "gain": f"{row['details']['gain']:.1f}" if "gain" in row["details"] else "",
        "ended": row["details"].get("ended", ""),
    }


def short(value: float) -> str:
    """Returns three digits, in thousands or millions."""
    for size, letter in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def ranged(row: Mapping[str, Any]) -> str:
    """Returns median and range."""
    return f"{short(row['median'])} ({short(row['low'])} to {short(row['high'])})"


def fraction(row: Mapping[str, Any]) -> str:
    """Returns the fraction of the limit."""
    return f"{row['median'] / row['limit']['median']:.2f}" if row["limit"] else ""


def limit_notes(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns what each limit computes."""
    names: dict[str, list[str]] = {}
    for row in rows:
        if row["limit"]:
            names.setdefault(row["limit"]["what"], []).append(row["name"])
    return [
        f"Limit{' of ' + who[0] if len(who) == 1 else ''}: {what}." for what, who in names.items()
    ]


def bounds(rows: Sequence[Mapping[str, Any]], where: Mapping[str, Any]) -> list[str]:
    """Tells which of the machine's bounds is nearest to each setting: a table, and a section per setting."""
    # Aims are those of two idle cores.
    has_aims = where["platform"] == "cpu" and not is_busy(where)
    machine = {row["name"]: row["median"] for row in rows if row["suite"] == "machine"}
    settings = [r for r in rows if r["suite"] == "training" and r["details"].get("per_step")]
    if not settings or not set(BOUNDS) <= set(machine):
        return []
    lines, sections = [], []
    for row in settings:
        per_step = row["details"]["per_step"]
        shares = {
            name: seconds * row["median"]
            for name, seconds in seconds_for(per_step, machine).items()
        }
        nearest = max(shares, key=shares.__getitem__)
        away = f"{short(1.0 / max(shares[nearest], 1e-12))} times away"
        counts = [short(per_step[name]) for name in BOUNDS]
        percent = [f"{share:.1%}" for share in shares.values()]
        lines.append((row["name"], *counts, *percent, f"{nearest}, {away}"))
        sections.append(section(row, f"{nearest}, {away}", 1.0 - sum(shares.values()), has_aims))
    columns = ["setting", *(f"{name} per step" for name in BOUNDS)]
    columns += [*(f"time for {name}" for name in BOUNDS), "nearest bound"]
    meaning = "; ".join(f"{name}: {what}" for name, what in BOUNDS.items())
    return [
        f"### Which bound is near\n\n{markdown(columns, lines)}\n\nTimes are shares of the time of a "
        f"step, as the machine would need them at its measured speeds. {meaning[0].upper()}{meaning[1:]}.",
        *sections,
    ]


def section(row: Mapping[str, Any], nearest: str, rest: float, has_aims: bool) -> str:
    """Returns what there is to say of one setting."""
    sentences = [f"{row['what']}: {ranged(row)} steps/s."]
    aim = row["details"]["aim"]
    if aim and has_aims:
        verdict = (
            "reached" if row["median"] >= aim else f"missed by {aim / row['median']:.1f} times"
        )
        sentences.append(f"The aim, {short(aim)}, is {verdict}.")
    if row["limit"]:
        sentences.append(
            f"That is {fraction(row)} of its limit, {short(row['limit']['median'])}: {row['limit']['what']}."
        )
    sentences.append(
        f"The nearest bound of the machine is {nearest}; {max(rest, 0.0):.0%} of the time is for what none "
        "of them counts."
    )
    return f"### {row['name']}\n\n{' '.join(sentences)}"


def verdict(row: Mapping[str, Any]) -> str:
    """Returns whether the difference to the peer is one, and whose it is."""
    if overlap(row, row["peer"]):
        return " (ranges overlap)"
    return " (slower)" if ratio(row) < 1.0 else ""


def overlap(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Returns whether the ranges of two measurements overlap."""
    return one["low"] <= other["high"] and other["low"] <= one["high"]


def compared(new: Mapping[str, Any], old: Mapping[str, Any]) -> str:
    """Returns the ratio of every row that both files have; above 1 is better than before."""
    before = {(row["suite"], row["name"]): row for row in old["rows"]}
    lines = []
    for row in new["rows"]:
        other = before.get((row["suite"], row["name"]))
        if other is None or other["unit"] != row["unit"]:
            continue
        better = row["median"] / other["median"]
        if row["unit"] == "s":
            better = 1.0 / better
        lines.append(
            (
                f"{row['suite']}: {row['name']}",
                short(other["median"]),
                short(row["median"]),
                f"{better:.2f}" + (" (ranges overlap)" if overlap(row, other) else ""),
            )
        )
    if not lines:
        return "Nothing was measured both times."
    return markdown(("", "before", "now", "times as fast"), lines)
