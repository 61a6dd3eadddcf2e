"""One base class for mistakes a user can mend: the command line prints it as one line, without a traceback."""


class LabError(ValueError):
    """Says what was found, where, and what would be right."""
