"""Resume states, exports and moving averages."""
