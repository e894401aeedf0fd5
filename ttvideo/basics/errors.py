"""The two exceptions that callers meet."""


class Refused(ValueError):
    """Something given to the library can't be used.

    The message has one form everywhere: what it is about, what was got, what was needed.
    """

    def __init__(self, what: str, got: object, need: object):
        self.what, self.got, self.need = what, got, need
        super().__init__(f"{what}: got {got}, need {need}")

    def __reduce__(self):
        # Exceptions travel between processes; the default would replay one argument of three.
        return type(self), (self.what, self.got, self.need)


class Failed(RuntimeError):
    """What was asked for broke on its target: `verdict` says where and why, and saves what is needed to see
    it again."""

    def __init__(self, verdict):
        self.verdict = verdict
        super().__init__(verdict)


def first_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
