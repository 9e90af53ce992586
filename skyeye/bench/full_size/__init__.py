"""The full-size check: named steps, each a command of its own with a limit in time, measured from outside.

What a step prints, takes and leaves is in the result as soon as it is done, so a run that is cut off keeps what it has.
"""
