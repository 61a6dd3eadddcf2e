"""A synthetic world of short videos in which it is known exactly what happens when."""

from .config import WorldConfig
from .world import World, load

__all__ = ["World", "WorldConfig", "load"]
