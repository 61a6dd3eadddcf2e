"""The classroom: exercises that check themselves, quizzes, an edition for students, and a table of what they handed in.

A notebook of exercises needs one line: `from d2vlm_lab.lab.classroom import check, hint, progress, solution`.
"""

from ...lazy import lazy

__getattr__, __all__ = lazy(__name__, {"desk": ["check", "hint", "progress", "solution"]})
