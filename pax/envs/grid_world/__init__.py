"""What games of many players on a grid share: maps, moves, beams, windows, chance, pictures."""
