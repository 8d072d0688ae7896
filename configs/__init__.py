"""Configs that ship with Pax, one file per game; `pax.configs` wherever Pax is installed."""
