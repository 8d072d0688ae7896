"""Plain games of commons in numpy and Python, written from their rules: an oracle for the compiled ones."""

import itertools

import numpy as np

# (rows down, columns right) of one step up, right, down and left.
HEADINGS = ((-1, 0), (0, 1), (1, 0), (0, -1))
LEFT_TURN, RIGHT_TURN, LEFT, RIGHT, FORWARD, BACK, STAY, ZAP, CLEAN = range(9)
WALL, SELF, OTHER, RIVER = 2, 3, 4, 8


class Player:
    def __init__(self, cell, facing):
        self.cell, self.facing, self.out = cell, facing, 0

    def ahead(self, forward, right):
        """The cell so many steps ahead and to the right."""
        (a, b), (c, d) = HEADINGS[self.facing], HEADINGS[(self.facing + 1) % 4]
        return self.cell[0] + a * forward + c * right, self.cell[1] + b * forward + d * right

    def beam(self, length):
        return {self.ahead(i, 0) for i in range(1, length + 1)} | {
            self.ahead(1, 1),
            self.ahead(1, -1),
        }


class Commons:
    """What both games share: a map of letters, players, a set of cells with apples."""

    def __init__(self, rows, window, players, beam_length=2, out_steps=1):
        self.cells = {(r, c): letter for r, row in enumerate(rows) for c, letter in enumerate(row)}
        self.shape = len(rows), len(rows[0])
        self.window, self.players = window, players
        self.beam_length, self.out_steps = beam_length, out_steps
        self.spawns = [cell for cell, letter in self.cells.items() if letter == "P"]
        self.apples, self.dirt = set(), set()
        self.time = 0

    def is_floor(self, cell):
        return self.cells.get(cell, "#") != "#"

    def at(self, cell):
        """The number of the player on a cell, or None."""
        found = [
            i for i, player in enumerate(self.players) if not player.out and player.cell == cell
        ]
        assert len(found) <= 1
        return found[0] if found else None

    def move(self, actions, priority):
        wants = {}
        for i, (player, action) in enumerate(zip(self.players, actions, strict=True)):
            if player.out:
                continue
            if action in (LEFT_TURN, RIGHT_TURN):
                player.facing = (player.facing + (1 if action == RIGHT_TURN else -1)) % 4
            step = {FORWARD: (1, 0), BACK: (-1, 0), LEFT: (0, -1), RIGHT: (0, 1)}.get(action)
            if step and self.is_floor(player.ahead(*step)):
                wants[i] = player.ahead(*step)
        cells = {i: player.cell for i, player in enumerate(self.players) if not player.out}
        for cell in set(wants.values()):
            rivals = sorted((i for i in wants if wants[i] == cell), key=lambda i: priority[i])
            for loser in rivals[:-1]:
                del wants[loser]
        for i, j in itertools.combinations(list(wants), 2):
            if i in wants and j in wants and wants[i] == cells[j] and wants[j] == cells[i]:
                del wants[i], wants[j]
        while blocked := [
            i for i in wants if any(j not in wants and cells[j] == wants[i] for j in cells)
        ]:
            for i in blocked:
                del wants[i]
        for i, cell in wants.items():
            self.players[i].cell = cell

    def eat(self):
        rewards = []
        for player in self.players:
            eats = not player.out and player.cell in self.apples
            rewards.append(float(eats))
            if eats:
                self.apples.remove(player.cell)
        return rewards

    def fired(self, actions, action):
        return [p for p, a in zip(self.players, actions, strict=True) if a == action and not p.out]

    def zap(self, actions, start, priority, facing):
        hit = set()
        for player in self.fired(actions, ZAP):
            beam = player.beam(self.beam_length)
            hit |= {
                i for i, other in enumerate(self.players) if not other.out and other.cell in beam
            }
        returns = [i for i, player in enumerate(self.players) if player.out == 1]
        for i, player in enumerate(self.players):
            player.out = self.out_steps if i in hit else max(player.out - 1, 0)
        here = [p.cell for i, p in enumerate(self.players) if not p.out and i not in returns]
        free = [cell for cell in self.spawns if cell not in here]
        for rank, i in enumerate(sorted(returns, key=lambda i: priority[i])):
            number = int(np.float32(start) * np.float32(len(free))) + rank * len(free) // len(
                returns
            )
            self.players[i].cell = free[number % len(free)]
            self.players[i].facing = int(facing[i])

    def count_around(self, cell):
        return sum(
            (cell[0] + r, cell[1] + c) in self.apples
            for r in range(-2, 3)
            for c in range(-2, 3)
            if 0 < r * r + c * c <= 4
        )

    def observe(self):
        far, side = self.window - 2, self.window // 2
        grid = np.full([size + 2 * far for size in self.shape], WALL, np.uint8)
        for (r, c), letter in self.cells.items():
            code = WALL if letter == "#" else RIVER if letter in "rd~" else 0
            grid[r + far, c + far] = code + ((r, c) in self.apples) + ((r, c) in self.dirt)
        windows = []
        for player in self.players:
            seen = grid.copy()
            for other in self.players:
                if not other.out:
                    code = SELF if other is player else OTHER + (other.facing - player.facing) % 4
                    seen[other.cell[0] + far, other.cell[1] + far] = code
            r, c = player.cell[0] + far, player.cell[1] + far
            # A square around the player, which is turned until it looks up.
            around = np.rot90(seen[r - far : r + far + 1, c - far : c + far + 1], player.facing)
            window = around[: far + 2, far - side : far + side + 1]
            windows.append(np.zeros_like(window) if player.out else window)
        return np.array(windows)


class Harvest(Commons):
    def __init__(self, *args, regrowth=(0.0, 0.001, 0.005, 0.025), **settings):
        super().__init__(*args, **settings)
        self.regrowth = regrowth
        self.orchard = [cell for cell, letter in self.cells.items() if letter == "a"]
        self.apples = set(self.orchard)

    def step(self, actions, priority, start, facing, growth):
        """Plays a step with the numbers that were drawn for it; returns the rewards."""
        self.move(actions, priority)
        rewards = self.eat()
        self.zap(actions, start, priority, facing)
        grown = [
            cell
            for cell in self.orchard
            if cell not in self.apples
            and self.at(cell) is None
            and growth[cell] < np.float32(self.regrowth[min(self.count_around(cell), 3)])
        ]
        self.apples |= set(grown)
        self.time += 1
        return rewards


class CleanUp(Commons):
    def __init__(
        self,
        *args,
        apple_rate=0.05,
        dirt_threshold=0.4,
        dirt_restored=0.0,
        dirt_rate=0.5,
        dirt_delay=50,
        clean_length=2,
        **settings,
    ):
        super().__init__(*args, **settings)
        self.apple_rate, self.dirt_rate, self.dirt_delay = apple_rate, dirt_rate, dirt_delay
        self.threshold, self.restored, self.clean_length = (
            dirt_threshold,
            dirt_restored,
            clean_length,
        )
        self.river = [cell for cell, letter in self.cells.items() if letter in "rd"]
        self.orchard = [cell for cell, letter in self.cells.items() if letter == "o"]
        self.dirt = {cell for cell, letter in self.cells.items() if letter == "d"}

    def step(self, actions, priority, start, facing, growth, dirt):
        """Plays a step with the numbers that were drawn for it; returns the rewards."""
        self.move(actions, priority)
        rewards = self.eat()
        for player in self.fired(actions, CLEAN):
            self.dirt -= player.beam(self.clean_length)
        self.zap(actions, start, priority, facing)
        clean = [cell for cell in self.river if cell not in self.dirt]
        if self.time >= self.dirt_delay and dirt[0] < np.float32(self.dirt_rate) and clean:
            self.dirt.add(clean[int(np.float32(dirt[1]) * np.float32(len(clean)))])
        share = len(self.dirt) / len(self.river)
        factor = (self.threshold - share) / (self.threshold - self.restored)
        rate = self.apple_rate * min(max(factor, 0.0), 1.0)
        self.apples |= {
            cell
            for cell in self.orchard
            if cell not in self.apples and self.at(cell) is None and growth[cell] < rate
        }
        self.time += 1
        return rewards
