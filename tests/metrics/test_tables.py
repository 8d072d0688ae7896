"""Tables as they are printed: what is in a cell does not change the table, or the terminal."""

from pax.metrics.tables import markdown


def test_no_cell_ends_a_cell_or_steers_the_terminal():
    table = markdown(("a", "b"), [["x|y", "\x1b[31mred\nline"], ["é", "ü +- 1"]])
    assert table.splitlines() == [
        "| a | b |",
        "| --- | --- |",
        r"| x\|y | ?[31mred?line |",
        "| é | ü +- 1 |",
    ]
