import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.insert(0, str(Path(__file__).parent))

import pytest  # noqa: E402
from hypothesis import settings  # noqa: E402

settings.register_profile("same_cases", derandomize=True, deadline=None)
settings.load_profile("same_cases")


@pytest.fixture(autouse=True, scope="session")
def features_of_this_session(tmp_path_factory):
    """Features that were kept by earlier runs of the tests, perhaps with other code, decide nothing."""
    from d2vlm_lab.data import splits

    usual, splits.CACHE = splits.CACHE, str(tmp_path_factory.mktemp("cache"))
    yield
    splits.CACHE = usual
