"""Other ways to tell frames their time, and to say when."""
