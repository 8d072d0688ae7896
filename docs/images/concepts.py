"""Draws the pictures of docs/concepts.md: `python docs/images/concepts.py`.

They are SVG of 360 units in width, so that their text can be read on a phone, and follow the light or dark
theme of whoever looks at them.
"""

import html
import itertools
import pathlib

FOLDER = pathlib.Path(__file__).parent
WIDTH = 360
SCALE = 4 / 3
"""By which they are enlarged where there is room."""
# Background, text, faint text, lines; roles that learn across trials, and roles that learn within one.
LIGHT = {
    "ground": "#ffffff",
    "ink": "#1c2430",
    "faint": "#5b6675",
    "line": "#8a94a3",
    "card": "#f3f5f8",
    "inner": "#e6eaf0",
    "shaper": "#2f5fd0",
    "learner": "#b8500f",
}
DARK = {
    "ground": "#171b22",
    "ink": "#e8ecf2",
    "faint": "#a8b2c0",
    "line": "#76808f",
    "card": "#212731",
    "inner": "#2c3440",
    "shaper": "#8fb0ff",
    "learner": "#ffa561",
}


def style(colours):
    """Returns the rules that give every class its colours."""
    rules = [f"text{{fill:{colours['ink']}}}", f".ground{{fill:{colours['ground']}}}"]
    for name, colour in colours.items():
        rules.append(f".{name}{{fill:{colour}}}.{name}-line{{stroke:{colour}}}")
    return "".join(rules)


def drawing(height, title, parts):
    """Returns a whole SVG with a title for whoever cannot see it."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'width="{SCALE * WIDTH:.0f}" height="{SCALE * height:.0f}" role="img" '
        f'font-family="Helvetica, Arial, sans-serif" font-size="12">\n'
        f"<title>{html.escape(title)}</title>\n"
        f"<style>{style(LIGHT)}@media (prefers-color-scheme: dark){{{style(DARK)}}}</style>\n"
        f'<rect class="ground" width="{WIDTH}" height="{height}" rx="8"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def text(x, y, words, kind="ink", size=12, anchor="start", bold=False):
    """Returns a line of text that begins, ends or has its middle at x, by its anchor."""
    weight = ' font-weight="bold"' if bold else ""
    return (
        f'<text x="{x}" y="{y}" class="{kind}" font-size="{size}" text-anchor="{anchor}"{weight}>'
        f"{html.escape(words)}</text>"
    )


def box(x, y, width, height, fill="card", line="line", copies=1):
    """Returns a box; of several copies, side by side in one program, the others show behind it."""
    return "".join(
        f'<rect x="{x + 4 * copy}" y="{y - 4 * copy}" width="{width}" height="{height}" rx="5" '
        f'class="{fill} {line}-line" stroke-width="1.2"/>'
        for copy in reversed(range(copies))
    )


def arrow(points, kind="line", width=1.5, dashed=False):
    """Returns an arrow along points whose last part is level or upright."""
    (before_x, before_y), (x, y) = points[-2:]
    path = "L".join(f"{a} {b}" for a, b in points)
    if before_y == y:
        back = x - 6 if x > before_x else x + 6
        head = f"{x},{y} {back},{y - 4} {back},{y + 4}"
    else:
        back = y - 6 if y > before_y else y + 6
        head = f"{x},{y} {x - 4},{back} {x + 4},{back}"
    dash = ' stroke-dasharray="4 3"' if dashed else ""
    return (
        f'<path d="M{path}" fill="none" class="{kind}-line" stroke-width="{width}"{dash}/>'
        f'<polygon points="{head}" class="{kind}"/>'
    )


def again(x, top, bottom):
    """Returns the arrow from the end of a box back to its beginning: one after the other."""
    return arrow([(x, bottom), (x + 9, bottom), (x + 9, top), (x, top)])


def loop():
    """Returns the drawing of the loop: what is in what, what is repeated, what is side by side."""
    parts = [
        box(8, 10, 334, 408),
        again(342, 26, 402),
        text(18, 28, "iteration", bold=True),
        text(332, 28, "x num_iters", "faint", anchor="end"),
        text(18, 48, "A task is drawn for each set of opponents."),
        text(18, 65, "Learners propose candidates.", "shaper"),
        box(18, 90, 302, 276, "inner", copies=3),
        text(28, 108, "trial", bold=True),
        text(310, 108, "side by side:", "faint", anchor="end"),
        text(310, 123, "seeds S x candidates C x opponents O", "faint", anchor="end"),
        box(28, 132, 268, 224),
        again(296, 148, 340),
        text(38, 150, "episode", bold=True),
        text(286, 150, "x num_outer_steps", "faint", anchor="end"),
        text(38, 170, "The game is reset."),
        box(38, 194, 226, 112, "inner", copies=3),
        again(264, 218, 296),
        text(48, 212, "step", bold=True),
        text(254, 212, "x num_inner_steps", "faint", anchor="end"),
        text(254, 228, "side by side: environments E", "faint", anchor="end"),
        text(48, 250, "Every role observes and acts."),
        text(48, 270, "The game answers with rewards"),
        text(48, 286, "and the next observations."),
        text(38, 326, "Roles that learn within the trial do so,", "learner"),
        text(38, 343, "each by the update of its agent.", "learner"),
        text(18, 388, "Learners improve, each from the trials", "shaper"),
        text(18, 405, "of its role: one update.", "shaper"),
        text(8, 438, "chunk iterations are one compiled call; callbacks run"),
        text(8, 454, "between calls: metrics, evaluation, checkpoints, yours."),
        box(10, 478, 22, 14, "inner", copies=3),
        text(48, 490, "side by side in one program (vmap)", "faint"),
        again(14, 504, 520),
        text(48, 516, "one after the other (scan)", "faint"),
    ]
    title = "The loop: iterations of trials, of episodes, of steps"
    return drawing(530, title, parts)


def trial():
    """Returns the drawing of a trial: an opponent learns, and a shaper remembers."""
    parts = [text(10, 24, "one trial against one set of opponents", bold=True)]
    lefts = (10, 98, 186, 288)
    for number, left in enumerate(lefts):
        name = f"episode {number + 1}" if number < 3 else "episode K"
        parts += [
            box(left, 40, 62, 132),
            text(left + 31, 56, name, "faint", anchor="middle"),
            box(left + 6, 66, 50, 30, "inner", "shaper"),
            text(left + 31, 85, "shaper", "shaper", anchor="middle"),
            text(left + 31, 113, "T steps", "faint", 11, "middle"),
            arrow([(left + 8, 120), (left + 8, 98)]),
            arrow([(left + 54, 98), (left + 54, 120)]),
            box(left + 6, 122, 50, 40, "inner", "learner"),
            text(left + 31, 138, "opponent", "learner", 10, "middle"),
            text(
                left + 31, 155, f"θ{'₀₁₂'[number]}" if number < 3 else "θ", "learner", 13, "middle"
            ),
        ]
        if number == 3:
            parts.append(text(left + 36, 158, "K-1", "learner", 8))
    for left, following in itertools.pairwise(lefts):
        far = following == lefts[3]
        parts += [
            arrow([(left + 56, 81), (following + 6, 81)], "shaper", 2, dashed=far),
            arrow([(left + 56, 142), (following + 6, 142)], "learner", 2, dashed=far),
        ]
    parts += [
        text(10, 194, "Shaper: the same parameters in all episodes;", "shaper"),
        text(10, 211, "its memory lasts from one episode to the next.", "shaper"),
        text(10, 235, "Opponent: new when the trial begins (θ₀), with one", "learner"),
        text(10, 252, "update after each episode, from its own rewards.", "learner"),
        text(10, 276, "After the trial the shaper is improved once, from what"),
        text(10, 292, "it got over all K episodes: so it pays to change what"),
        text(10, 308, "the other one learns. Then a new trial begins."),
    ]
    title = "A trial: K episodes, in which an opponent learns and a shaper remembers"
    return drawing(320, title, parts)


def candidates():
    """Returns the drawing of evolution: candidates, the same opponents for all, fitness, one update."""
    parts = [
        text(10, 24, "one iteration of evolution", bold=True),
        box(10, 36, 340, 46, "inner", "shaper"),
        text(20, 55, "state of the learner: a mean, and how far to", "shaper"),
        text(20, 72, "look around it (sigma)", "shaper"),
        arrow([(60, 82), (60, 118)], "shaper"),
        text(70, 104, "propose: C candidates (popsize)", "shaper"),
        text(128, 134, "the same O opponents", "faint"),
    ]
    fitness = (26, 50, 14, 38)
    for row, share in enumerate(fitness):
        top = 146 + 34 * row
        name = f"candidate {row + 1}" if row < 3 else "candidate C"
        parts += [box(10, top, 96, 26, "inner", "shaper"), text(18, top + 17, name, "shaper")]
        for column in range(3):
            parts.append(box(128 + 44 * column, top, 38, 26))
            parts.append(text(147 + 44 * column, top + 17, "trial", "learner", 12, "middle"))
        parts.append(
            f'<rect x="276" y="{top + 5}" width="{share}" height="16" class="shaper" rx="2"/>'
        )
        parts.append(arrow([(106, top + 13), (126, top + 13)]))
    parts += [
        text(276, 134, "fitness", "shaper"),
        text(128, 296, "All C x O trials run side by side,"),
        text(128, 312, "random numbers alike for all C."),
        arrow([(60, 278), (60, 340)], "shaper"),
        box(10, 342, 340, 62, "inner", "shaper"),
        text(20, 361, "update: the mean moves towards candidates whose", "shaper"),
        text(20, 378, "fitness, their mean reward per step over all of their", "shaper"),
        text(20, 395, "trials, is high; no gradient is needed", "shaper"),
    ]
    title = "Candidates of evolution: each meets the same opponents, and its fitness moves the mean"
    return drawing(414, title, parts)


DRAWINGS = {"loop.svg": loop, "trial.svg": trial, "candidates.svg": candidates}

if __name__ == "__main__":
    for name, make in DRAWINGS.items():
        (FOLDER / name).write_text(make(), encoding="utf-8")
