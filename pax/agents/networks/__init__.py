"""Networks of agents: feed-forward, recurrent, and those of agents that remember whole trials."""
