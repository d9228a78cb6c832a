from executor.errors import ExecutorError


class DemoFailed(ExecutorError):
    """The demo did not go as it must; the message is what its reader is told."""
