"""The table of cooperation from diversity: agents who find out whom they meet, and who meet each other."""

from __future__ import annotations

from typing import Any

from launch.reproduce.cells import Cell, PublishedTable, trained
from launch.reproduce.learning_aware import AGAINST_OTHERS, IN_SELF_PLAY
from pax.run.directory import POLICIES

CONFIG = "configs/ipd.py:in_context"
RESPONDS, EXTORTS = "responds", "extorts"
"""Runs whose policies others start from."""
AGENTS = "Agents that meet strategies, or one of them: reward per step"
POOL = "Agents of a pool among themselves: reward per step"


def in_context(quick: bool) -> PublishedTable:
    """Describes in-context co-player inference (Weis et al. 2026), of which only figures were published."""
    seeds = 1 if quick else 3

    def policy(run: str, seed: str = "{seed}") -> str:
        """Returns the path of a run's policy, in the folder of all runs."""
        return f"{run}/{POLICIES}/agent1{f'_seed_{seed}' if seeds > 1 else ''}.msgpack"

    def row(label: str, variant: str, **given: Any) -> Cell:
        # Enough trials for some of each kind.
        enough = {"num_opps": 16} if quick else {}
        settings = {**given.pop("settings", {}), **enough}
        config = f"{CONFIG},{variant}small"
        return trained(label, (), config, seeds, quick, settings=settings, **given)

    responder = {"agent1.warm_start": policy(RESPONDS)}
    extortioners = {f"{role}.warm_start": policy(EXTORTS) for role in ("agent1", "agent2")}
    alone_at_first = {
        "tasks.mixed_pool.after": 1 if quick else 400,
        "num_iters": 2 if quick else 600,
    }
    cells = (
        row("best response - strategies", "step=best_response,", panel=AGENTS, runs=RESPONDS),
        row(
            "extortion - best response, frozen",
            "step=extortion,",
            starts={"agent2.path": policy(RESPONDS, "0")},
            panel=AGENTS,
            runs=EXTORTS,
        ),
        row("extortion - extortion", "step=two_extortioners,", starts=extortioners, panel=AGENTS),
        *(
            row(f"pool: {pair}", "", starts=responder, metrics=metrics, panel=panel, runs="pool")
            for pair, metrics, panel in (
                ("among themselves", IN_SELF_PLAY, POOL),
                ("against strategies", AGAINST_OTHERS, ""),
            )
        ),
        *(
            row(
                f"{name}: among themselves",
                variant,
                starts=responder,
                metrics=IN_SELF_PLAY,
                panel=POOL,
            )
            for name, variant in (
                ("pool without strategies", "without_tables,"),
                ("pool, told whom they meet", "told,"),
            )
        ),
        row(
            "pool from scratch: among themselves",
            "",
            settings=alone_at_first,
            metrics=IN_SELF_PLAY,
        ),
    )
    return PublishedTable(
        "In-context co-player inference in the finite IPD; mutual cooperation pays 1",
        "reward per step",
        "pair",
        ("first", "second"),
        cells,
    )
