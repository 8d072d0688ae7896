"""Policies that ship with Pax: a file each, `<game>/<method>/<number>.msgpack`, and a card beside it."""
