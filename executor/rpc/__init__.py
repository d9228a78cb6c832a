import executor.rpc.h2_compat  # noqa: F401 - purerpc can be imported only after it, and the generated code imports purerpc
