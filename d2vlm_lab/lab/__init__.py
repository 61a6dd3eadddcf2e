"""What people touch: ask a video, run a study, look at what came out. `lab.load` imports the model when it is used."""

from ..lazy import lazy

__getattr__, __all__ = lazy(__name__, {"ask": ["load"]})
