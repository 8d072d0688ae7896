"""The climate-economy games written down a second time: plain Python floats, one region after the other."""

import csv
import math
import pathlib

import pax.envs.rice


def regions(num_regions):
    """One dict of numbers per region."""
    folder = pathlib.Path(pax.envs.rice.__file__).parent
    with open(folder / f"calibration_{num_regions}.csv", encoding="utf-8") as file:
        return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]


NAMES = ("Q", "C", "I", "Y", "U", "W", "rev", "price", "theta", "Omega", "Lambda")


class World:
    """The state of an episode; `step` plays what every region does and returns what came of it."""

    def __init__(self, num_regions):
        self.n, self.t = num_regions, 0
        self.of = regions(num_regions)
        self.temperature, self.carbon = [0.85, 0.0068], [851.0, 460.0, 1740.0]
        self.L = [r["initial_labor"] for r in self.of]
        self.K = [r["initial_capital"] for r in self.of]
        self.A = [r["initial_productivity"] for r in self.of]
        self.sigma = [r["initial_intensity"] for r in self.of]
        self.B = [0.0] * self.n
        self.tau = [[0.0] * self.n for _ in range(self.n)]

    def step(self, savings, mitigation, limits, tariffs, bids):
        """Lists per region; `tariffs` and `bids` are lists of lists, importers first."""
        self.t += 1
        t, all_, r = self.t, range(self.n), self.of
        t_at, m_at = self.temperature[0], self.carbon[0]
        out = {name: [0.0] * self.n for name in NAMES}
        for i in all_:
            theta = 550 / (1000 * 2.6) * (1 - 0.001) ** (t - 1) * self.sigma[i]
            a_1, a_2, a_3 = (r[i][f"damage_{x}"] for x in ("linear", "coefficient", "exponent"))
            gamma = r[i]["capital_share"]
            out["theta"][i] = theta
            out["Lambda"][i] = theta * mitigation[i] ** 2.6
            out["Omega"][i] = 1 / (1 + a_1 * t_at + a_2 * t_at**a_3)
            out["Y"][i] = self.A[i] * self.K[i] ** gamma * (self.L[i] / 1000) ** (1 - gamma)
            out["Q"][i] = out["Omega"][i] * (1 - out["Lambda"][i]) * out["Y"][i]
            out["I"][i] = savings[i] * out["Q"][i]
            self.B[i] *= 1.1
        output, invested = out["Q"], out["I"]
        trade = [[0.0 if i == j else bids[i][j] for j in all_] for i in all_]
        for i in all_:
            total = sum(trade[i])
            debt = min(max(10 * self.B[i] / r[i]["initial_capital"], -1), 0)
            for j in all_:
                trade[i][j] *= min(max(total, 0), output[i]) / (total + 1e-5) * (1 + debt)
        for j in all_:
            want = sum(trade[i][j] for i in all_)
            most = min(limits[j] * output[j], output[j] - invested[j])
            for i in all_:
                trade[i][j] *= min(max(want, 0), most) / (want + 1e-5)
        for i in all_:
            exports = sum(trade[j][i] for j in all_)
            self.B[i] += 5 * (exports - sum(trade[i]))
            home = max(0, output[i] - invested[i] - exports)
            goods = 0.5 * home**0.5
            for j in all_:
                goods += 0.5 / (self.n - 1) * (trade[i][j] * (1 - self.tau[i][j])) ** 0.5
                out["rev"][i] += trade[i][j] * self.tau[i][j]
            people = self.L[i] / 1000
            out["C"][i] = goods**2
            out["U"][i] = people * ((out["C"][i] / people + 1) ** (1 - 1.45) - 1) / (1 - 1.45)
            out["W"][i] = out["U"][i] / 1.015 ** (5 * t)
        self.F = 0.5 + min(0.5, 0.5 / 20 * (t - 1))
        self.land = 2.6 * (1 - 0.001) ** (t - 1) / self.n
        heat = 3.6813 * math.log(m_at / 588) / math.log(2) + self.F
        emitted = sum(self.sigma[i] * (1 - mitigation[i]) * out["Y"][i] + self.land for i in all_)
        air, low = self.temperature
        self.temperature = [0.8718 * air + 0.0088 * low + 0.1005 * heat, 0.025 * air + 0.975 * low]
        m, u, d = self.carbon
        self.carbon = [
            0.88 * m + 0.196 * u + 1.36388 * emitted,
            0.12 * m + 0.797 * u + 0.001465 * d,
            0.007 * u + 0.99853488 * d,
        ]
        for i in all_:
            self.K[i] = (1 - 0.1) ** 5 * self.K[i] + 5 * invested[i]
            self.sigma[i] *= math.exp(-0.0025 * (1 - 0.1) ** (5 * (t - 1)) * 5)
            limit, speed = r[i]["long_run_labor"], r[i]["labor_convergence"]
            self.L[i] *= ((1 + limit) / (1 + self.L[i])) ** speed
            fading = math.exp(-r[i]["productivity_growth_decline"] * 5 * (t - 1))
            self.A[i] *= math.exp(0.0033) + r[i]["productivity_growth"] * fading
            out["price"][i] = (
                2.6 * out["Omega"][i] * mitigation[i] ** 1.6 * out["theta"][i] / self.sigma[i]
            )
        self.tau = [[0.0 if i == j else tariffs[i][j] for j in all_] for i in all_]
        self.last = out
        return out


def play_rice(num_regions, has_mediator, joint_actions):
    """Yields (observations, rewards) of every step, players in order."""
    world, n = World(num_regions), num_regions
    for joint in joint_actions:
        acts = [list(map(float, action)) for action in joint]
        own = acts[int(has_mediator) :]
        out = world.step(
            [a[0] for a in own],
            [a[1] for a in own],
            [a[2] for a in own],
            [a[3 : 3 + n] for a in own],
            [a[3 + n : 3 + 2 * n] for a in own],
        )
        public = [world.t, *world.temperature, *world.carbon, world.F, world.land]
        public += world.L + world.K + out["Q"] + out["C"] + out["I"] + world.B
        public += out["rev"] + out["price"] + [0.0] * n
        seen = [number for action in acts for number in action]
        observations = [
            [i, *public, out["Omega"][i], out["Lambda"][i], out["Y"][i], *seen] for i in range(n)
        ]
        rewards = list(out["U"])
        if has_mediator:
            observations.insert(0, [0, *public, 0, 0, 0, *seen])
            rewards.insert(0, sum(out["U"]))
        yield observations, rewards


def play_club(num_regions, has_mediator, joint_actions, climate_weight, utility_weight):
    """As `play_rice`, with the club."""
    world, n = World(num_regions), num_regions
    for joint in joint_actions:
        acts = [list(map(float, action)) for action in joint]
        own = acts[int(has_mediator) :]
        rate, least = (acts[0][1], acts[0][3]) if has_mediator else (0.3, 0.1)
        joined = [a[-1] > 0.5 for a in own]
        tariffs = [a[3 : 3 + n] for a in own]
        for i in range(n):
            for j in range(n):
                if joined[i]:
                    tariffs[i][j] = 0.0 if joined[j] else max(tariffs[i][j], least)
        before = world.temperature[0]
        out = world.step(
            [a[0] for a in own],
            [rate if joined[i] else own[i][1] for i in range(n)],
            [a[2] for a in own],
            tariffs,
            [a[3 + n : 3 + 2 * n] for a in own],
        )
        public = [world.t, rate, least, *world.temperature, *world.carbon]
        public += out["Q"] + out["I"] + out["Lambda"] + out["rev"] + list(map(float, joined))
        observations = [[i, *public] for i in range(n)]
        rewards = list(out["U"])
        if has_mediator:
            observations.insert(0, [0, *public])
            rise = world.temperature[0] - before
            rewards.insert(0, utility_weight * sum(out["U"]) / (10 * n) - climate_weight * rise)
        yield observations, rewards


def play_planner(num_regions, fixed_mitigation_rate, actions):
    """As `play_rice`, for the only player of SarlRice."""
    world, n = World(num_regions), num_regions
    for action in actions:
        size = 3 + 2 * n
        own = [list(map(float, action[i * size : (i + 1) * size])) for i in range(n)]
        rate = fixed_mitigation_rate
        out = world.step(
            [a[0] for a in own],
            [a[1] if rate is None else rate for a in own],
            [1.0] * n,
            [[0.0] * n for _ in own],
            [a[3 + n :] for a in own],
        )
        seen = [world.t, *world.temperature, *world.carbon, world.F, world.land]
        seen += world.L + world.K + out["Q"] + out["C"] + out["I"] + world.B + world.A + world.sigma
        seen += out["theta"] + out["Omega"] + out["Lambda"] + out["Y"] + out["U"] + out["W"]
        yield [seen], [sum(out["U"])]
