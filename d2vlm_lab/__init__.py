"""Find when something happens, then say what: D2VLM to read, to run and to take apart."""

import os

from .lazy import lazy

__getattr__, __all__ = lazy(__name__, {"model.d2vlm": ["D2VLM"]})
__version__ = "0.2.0"

# Before torch is imported: threads that spin while they wait make a shared machine many times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
