"""Why the program cannot start: for the person who started it."""


class StartError(Exception):
    """The pipeline cannot start: one line for the person who started it, and the exit code."""

    def __init__(self, text: str, *, exit_code: int) -> None:
        super().__init__(text)
        self.exit_code = exit_code
