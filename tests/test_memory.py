"""The peak of a process is its own."""

import subprocess
import sys

from d2vlm_lab.files import peak_megabytes


def test_the_peak_of_a_process_does_not_count_what_the_process_that_started_it_once_had():
    before = peak_megabytes()
    large = b"x" * int((before + 300) * 2**20)
    del large
    assert peak_megabytes() > before + 250
    command = "from d2vlm_lab.files import peak_megabytes; print(peak_megabytes())"
    child = float(subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True).stdout)
    assert 5 < child < before + 200
