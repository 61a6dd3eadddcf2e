"""Frames that come one by one, and what is asked before a video is over."""
