"""Find when something happens, then say what: D2VLM to read, to run and to take apart."""

import os

__version__ = "0.2.0"

# Before torch is imported: threads that spin while they wait make a shared machine many times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
