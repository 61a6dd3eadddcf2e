"""Speed and memory, as ratios within one run: `d2vlm-lab bench NAME`."""
