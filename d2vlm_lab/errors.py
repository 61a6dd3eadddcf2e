"""One base class for mistakes a user can mend: the command line prints it as one line, without a traceback."""


class LabError(ValueError):
    """Says what was found, where, and what would be right."""


def first_line(error: BaseException, most: int = 200) -> str:
    """What an error of a library says in its first line; its kind where it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:most]
