"""What people touch: ask a video, run a study, look at what came out."""


def __getattr__(name: str):
    """`lab.load` brings the whole model along, so it is imported only when somebody asks for it."""
    if name == "load":
        from .ask import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
