"""A new project, to start from: a game, an agent, a callback and a config of one's own, with tests."""
