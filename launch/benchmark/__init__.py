"""How fast it is, beside limits and peers."""
