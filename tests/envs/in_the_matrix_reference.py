"""In-the-matrix written down a second time: Python lists and dicts, one environment and one cell at a time.

What is random, who of several gets a cell and where players start again, is taken over from what is checked,
if the rules allow it.
"""

import numpy as np

SIZE = 8
AHEAD = [(0, 1), (1, 0), (0, -1), (-1, 0)]
LAYOUT = {
    **dict.fromkeys([(1, 2), (1, 6), (1, 5), (5, 1), (6, 6), (5, 6)], 0),
    **dict.fromkeys([(1, 1), (2, 1), (2, 6), (6, 2), (6, 1), (6, 5)], 1),
}
CORNER = [(0, 0), (1, 0), (2, 0), (0, 1)]
SPAWNS = {
    (7 - x if right else x, 7 - y if down else y)
    for x, y in CORNER
    for right in (False, True)
    for down in (False, True)
}
LEFT, RIGHT, FORWARD, INTERACT, STAY = range(5)


def side(direction):
    """One step to the left."""
    return AHEAD[(direction + 1) % 4]


def plus(cell, *steps):
    """The cell after `steps`, each a number of times and a step."""
    x, y = cell
    for times, (dx, dy) in steps:
        x, y = x + times * dx, y + times * dy
    return x, y


def inside(cell):
    return min(cell) >= 0 and max(cell) < SIZE


class Agent:
    def __init__(self, cell, direction):
        self.start(cell, direction)

    def start(self, cell, direction):
        self.cell, self.direction = cell, direction
        self.coins = []
        self.frozen = 0
        self.fires = False

    def counts(self, layout):
        types = [layout[cell] for cell in self.coins]
        return [types.count(0), types.count(1)]

    def beam(self):
        ahead, left = AHEAD[self.direction], side(self.direction)
        one = plus(self.cell, (1, ahead))
        cells = [one, plus(one, (1, ahead)), plus(one, (1, left)), plus(one, (-1, left))]
        return [cell for cell in cells if inside(cell)]


class Game:
    """`agents` are pairs (cell, direction)."""

    def __init__(self, agents, layout, payoff, penalty):
        self.layout, self.payoff, self.penalty = layout, payoff, penalty
        self.agents = [Agent(*agent) for agent in agents]
        self.coins = set(layout)

    def step(self, actions, agents):
        """Plays a step that led to `agents`, pairs (cell, direction); returns (rewards, events)."""
        everyone = self.agents
        thaws = [agent.frozen == 1 for agent in everyone]
        actions = [
            STAY if a.frozen else action for a, action in zip(everyone, actions, strict=True)
        ]
        # Players who start again do not move in this step.
        ends = [
            a.cell if again else cell
            for a, again, (cell, _) in zip(everyone, thaws, agents, strict=True)
        ]
        self._move(actions, ends)
        for agent, action in zip(everyone, actions, strict=True):
            agent.direction = (agent.direction + {LEFT: 1, RIGHT: -1}.get(action, 0)) % 4
            agent.fires = action == INTERACT
        collected = []
        for agent in everyone:
            taken = {agent.cell} & self.coins
            self.coins -= taken
            agent.coins += taken
            types = [self.layout[cell] for cell in taken]
            collected.append([types.count(0), types.count(1)])
        rewards, partners = self._interact()
        for agent, number, again, start in zip(everyone, partners, thaws, agents, strict=True):
            if number:
                agent.frozen = self.penalty
            elif agent.frozen:
                agent.frozen -= 1
            if again:
                self.coins |= set(agent.coins)
                agent.start(*start)
        for again, (cell, _) in zip(thaws, agents, strict=True):
            assert not again or cell in SPAWNS
        if len(agents) == 2 and thaws[0]:
            assert thaws[1] and plus(agents[0][0], (1, agents[1][0])) == (SIZE - 1, SIZE - 1)
        assert len({agent.cell for agent in everyone}) == len(everyone)
        return rewards, {
            "beams": [int(agent.fires) for agent in everyone],
            "interactions": partners,
            "soft_resets": [int(again) for again in thaws],
            "collected": collected,
            "inventories": [
                [number * count for count in agent.counts(self.layout)]
                for number, agent in zip(partners, everyone, strict=True)
            ],
        }

    def _move(self, actions, ends):
        """Moves everybody to `ends`, if that is what may come of these actions."""
        wants = []
        for agent, action in zip(self.agents, actions, strict=True):
            want = (
                plus(agent.cell, (1, AHEAD[agent.direction])) if action == FORWARD else agent.cell
            )
            wants.append(want if inside(want) else agent.cell)
        before = [agent.cell for agent in self.agents]
        assert len(set(ends)) == len(ends), "two in one cell"
        for i, (old, want, end) in enumerate(zip(before, wants, ends, strict=True)):
            assert end in (old, want)
            if end != want:
                assert want in ends, "held back by nobody"
            for j in range(i):
                assert end == old or (end, old) != (before[j], ends[j]), "swapped"
        for agent, end in zip(self.agents, ends, strict=True):
            agent.cell = end

    def _interact(self):
        rewards = [0.0] * len(self.agents)
        partners = [0] * len(self.agents)
        for j, second in enumerate(self.agents):
            for i, first in enumerate(self.agents[:j]):
                hit = (first.fires and second.cell in first.beam()) or (
                    second.fires and first.cell in second.beam()
                )
                ready = first.coins and second.coins and not first.frozen and not second.frozen
                if not hit or not ready:
                    continue
                mixed = [np.array(agent.counts(self.layout)) for agent in (first, second)]
                v1, v2 = (counts / counts.sum() for counts in mixed)
                rewards[i] += v1 @ self.payoff[0] @ v2
                rewards[j] += v1 @ self.payoff[1] @ v2
                partners[i] += 1
                partners[j] += 1
        return rewards, partners

    def observe(self, index):
        """(window `[5, 5, 10]`, inventory) of one player."""
        me = self.agents[index]
        others = self.agents[index + 1 :] + self.agents[:index]
        lit = {cell for agent in self.agents if agent.fires for cell in agent.beam()}
        window = np.zeros((5, 5, 10), np.float32)
        for row in range(5):
            for column in range(5):
                cell = plus(me.cell, (row - 2, side(me.direction)), (column, AHEAD[me.direction]))
                planes = set()
                if cell == me.cell:
                    planes.add(0)
                for other in others:
                    if cell == other.cell:
                        planes |= {1, 6 + (other.direction - me.direction) % 4}
                if cell in self.coins:
                    planes.add(2 + self.layout[cell])
                if not inside(cell):
                    planes.add(4)
                if not planes and cell in lit:
                    planes.add(5)
                window[row, column, list(planes)] = 1.0
        inventory = [*me.counts(self.layout), bool(me.coins), *(bool(o.coins) for o in others)]
        for other in others:
            inventory += other.counts(self.layout) if other.frozen else [0, 0]
        return window, np.array(inventory, np.float32)
