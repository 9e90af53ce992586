"""Memory, tokens and hours of a run, before it is started."""
