"""Jobs: posting, watching and cancelling them, and downloading their results."""
