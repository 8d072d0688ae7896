"""How cost grows with batch axes and devices."""
