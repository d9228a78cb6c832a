"""The benchmark: the unchanged daemon under load, in processes of their own. `scripts/bench` starts it."""
