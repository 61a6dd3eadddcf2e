"""From a scene to pixels. F frames of S x S; all frames of a thing are drawn at once."""

from __future__ import annotations

import numpy as np

from .config import WorldConfig
from .scene import Scene, Sway, Thing
from .surgery import veil

COLORS = {"red": (226, 48, 42), "green": (40, 186, 66), "blue": (52, 96, 240), "yellow": (246, 216, 44),
          "purple": (178, 62, 216), "white": (246, 246, 246), "orange": (250, 138, 22), "cyan": (44, 216, 228)}


def render(scene: Scene, config: WorldConfig, rng: np.random.Generator) -> np.ndarray:
    """(F, S, S, 3) uint8 pixels."""
    n, size = scene.n_frames, scene.size
    shot = np.searchsorted(scene.cuts, np.arange(n), side="right")
    backgrounds = np.stack([_background(config, rng) for _ in range(len(scene.cuts) + 1)])
    picture = backgrounds[shot]
    camera = {name: values[shot] for name, values in _cameras(len(scene.cuts) + 1, size, rng).items()}
    for _ in range(config.clutter):
        _drift(picture, rng)
    path = dict(scene.path)
    for axis in ("x", "y"):
        path[axis] = (path[axis] - size / 2) * camera["zoom"] + camera[axis]
    path["radius"] = path["radius"] * camera["zoom"]
    path |= _tints(scene)
    for k, thing in enumerate(scene.things):
        _draw(picture, thing, {name: values[k] for name, values in path.items()}, config)
    for _ in range(config.occluders):
        _stand(picture, rng)
    if config.blur or config.smoke:
        veil(picture, config, rng)
    if scene.sways is not None:
        _swing(picture, scene.sways)
    if config.camera_noise:
        picture += config.camera_noise * rng.standard_normal((*picture.shape[:3], 1), np.float32)
    return picture.clip(0, 255).astype(np.uint8)


def _tints(scene: Scene) -> dict[str, np.ndarray]:
    """How much red, green and blue things have besides their own colour, (N, F) each; empty if no colour changes."""
    tints = np.zeros((3, len(scene.things), scene.n_frames))
    for event in (e for e in (*scene.events, *scene.feints) if e.into):
        frames = np.arange(1, event.last - event.first + 2) / (event.last - event.first + 1)
        change = np.subtract(COLORS[event.into], COLORS[scene.things[event.thing].color])
        tints[:, event.thing, event.first:event.last + 1] = change[:, None] * frames
    return dict(zip(("more red", "more green", "more blue"), tints)) if tints.any() else {}


def _stand(picture: np.ndarray, rng: np.random.Generator) -> None:
    """A dark post in front of everything, too narrow to hide a thing."""
    size = picture.shape[1]
    width = max(1, round(0.08 * size))
    left = int(rng.integers(size - width))
    picture[:, :, left:left + width] = rng.uniform(15, 45)


def _swing(picture: np.ndarray, sways: tuple[Sway, Sway]) -> None:
    """The camera swings to and fro; what leaves the picture comes back in on the other side."""
    across, down = (sway.offset(np.arange(len(picture))) for sway in sways)
    for frame, by in enumerate(zip(down, across)):
        picture[frame] = np.roll(picture[frame], by, (0, 1))


def _draw(picture: np.ndarray, thing: Thing, path: dict[str, np.ndarray], config: WorldConfig) -> None:
    """Draw one thing onto all frames, but only where it ever is, and each state that it is in only once."""
    size, reach = picture.shape[1], 1.3 * path["radius"].max() + 1
    top, left = (max(int(path[axis].min() - reach), 0) for axis in "yx")
    bottom, right = (min(int(path[axis].max() + reach) + 1, size) for axis in "yx")
    states, which = np.unique(np.stack(list(path.values())), axis=1, return_inverse=True)
    at = {name: values[:, None, None] for name, values in zip(path, states.astype(np.float32))}
    rows, columns = np.mgrid[top:bottom, left:right].astype(np.float32)
    cover, ink = _layer(thing, at, rows, columns, config.look == "paper")
    cover *= np.float32(config.contrast)
    part = picture[:, top:bottom, left:right]
    part += cover[which.ravel()] * (ink[which.ravel()] - part)


def _layer(thing: Thing, at: dict[str, np.ndarray], rows: np.ndarray, columns: np.ndarray,
           outlined: bool) -> tuple[np.ndarray, np.ndarray]:
    """How much of each pixel a thing covers, and in which colour. A dark notch on one side shows how it is turned."""
    dx, dy, radius = columns - at["x"], rows - at["y"], at["radius"]
    cos, sin = np.cos(at["angle"]), np.sin(at["angle"])
    u, v = (dx * cos + dy * sin) / radius, (dy * cos - dx * sin) / radius
    outside = _distance(thing.shape, u, v)
    cover = (0.5 - outside * radius).clip(0, 1) * at["visible"]
    notch = (0.5 - np.maximum(np.abs(u - 0.5) - 0.3, np.abs(v) - 0.17) * radius).clip(0, 1)
    shade = 1 - 0.8 * notch
    if outlined:
        shade *= (0.5 - (outside + 0.16) * radius).clip(0.15, 1)
    color = np.array(COLORS[thing.color], np.float32)
    if "more red" in at:
        color = color + np.stack([at[f"more {name}"] for name in ("red", "green", "blue")], -1)
    ink = color * shade[..., None]
    flash = at["flash"][..., None]
    return cover[..., None], np.where(flash < 0, 0.3 * ink, ink + flash * 0.6 * (255 - ink))


def _distance(shape: str, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """How far outside the unit shape a point lies; negative inside."""
    if shape == "disc":
        return np.hypot(u, v) - 1
    a, b = np.abs(u), np.abs(v)
    if shape == "square":
        return np.maximum(a, b) - 0.9
    if shape == "cross":
        return np.minimum(np.maximum(a - 1.1, b - 0.36), np.maximum(b - 1.1, a - 0.36))
    if shape == "triangle":  # its tip points to where the notch is not
        return np.maximum(u, 0.866 * b - 0.5 * u) - 0.62
    raise ValueError(f"no shape {shape!r}")


def _background(config: WorldConfig, rng: np.random.Generator) -> np.ndarray:
    """(S, S, 3): a smooth cloudy dusk, or bright paper with stripes."""
    size = config.size
    if config.look == "dusk":
        coarse = rng.uniform(-1, 1, (6, 6, 3)).mean(2, keepdims=True) + 0.3 * rng.uniform(-1, 1, (6, 6, 3))
        texture = 26 * _enlarge(coarse, size) + rng.uniform(55, 90) + rng.uniform(-8, 8, 3)
    else:
        turn, width = rng.uniform(0, np.pi), rng.uniform(6, 12)
        rows, columns = np.mgrid[:size, :size]
        wave = np.sin((rows * np.sin(turn) + columns * np.cos(turn)) * 2 * np.pi / width)
        texture = rng.uniform(160, 205) + rng.uniform(-14, 14, 3) + 14 * np.sign(wave)[..., None]
    return texture.astype(np.float32)


def _enlarge(coarse: np.ndarray, size: int) -> np.ndarray:
    """Enlarge a coarse grid to (S, S, 3), bilinearly."""
    n = len(coarse)
    place = np.linspace(0, n - 1, size)
    weight = np.maximum(0, 1 - np.abs(place[:, None] - np.arange(n)))
    return np.einsum("ia,jb,abc->ijc", weight, weight, coarse)


def _cameras(shots: int, size: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Zoom and centre of each shot; the first, and so an uncut video, sees the scene as it is."""
    cameras = {"zoom": rng.uniform(0.85, 1.05, shots), "x": size * rng.uniform(0.44, 0.56, shots),
               "y": size * rng.uniform(0.44, 0.56, shots)}
    for name, still in (("zoom", 1), ("x", size / 2), ("y", size / 2)):
        cameras[name][0] = still
    return cameras


def _drift(picture: np.ndarray, rng: np.random.Generator) -> None:
    """A small grey speck that crosses the picture at a steady pace and comes back in on the other side."""
    n, size = picture.shape[:2]
    start, speed = rng.uniform(0, size, 2), size * rng.uniform(-0.02, 0.02, 2)
    radius, shade = 0.5 + 0.03 * size, np.float32(rng.uniform(90, 170))
    place = start + speed * np.arange(n)[:, None]  # (F, 2)
    near = np.floor(place)[:, :, None] + np.arange(-int(radius) - 1, int(radius) + 2)  # (F, 2, pixels around it)
    dy, dx = np.moveaxis(near - place[:, :, None], 1, 0)
    cover = 0.8 * (radius - np.hypot(dy[:, :, None], dx[:, None])).clip(0, 1)[..., None].astype(np.float32)
    y, x = np.moveaxis(near.astype(int) % size, 1, 0)
    at = (np.arange(n)[:, None, None], y[:, :, None], x[:, None])
    picture[at] += cover * (shade - picture[at])
