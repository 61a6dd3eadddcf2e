"""Scores: intervals, choices, captions, and one scorer per benchmark, each under a named protocol."""
