"""When a run helps itself, and when it stops."""
