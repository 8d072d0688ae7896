"""Games: one module each, all with the interface of `pax.envs.environment.Environment`."""
