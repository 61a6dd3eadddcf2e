"""Other ways to give frames their times, and to say when something happens."""
