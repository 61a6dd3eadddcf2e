"""A synthetic world of short videos in which it is known exactly what happens when."""

from .config import PRESETS, WorldConfig
from .scene import Scene
from .world import World, load

__all__ = ["PRESETS", "Scene", "World", "WorldConfig", "load"]
