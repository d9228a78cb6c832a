import executor.rpc  # noqa: F401 - makes purerpc importable with h2 4.x, before any test imports it
