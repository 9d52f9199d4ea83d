"""Floor 4: play without a window.

`simulator` makes frames, `batch` those of many sessions at once, `worker` is the simulator's thread, `session` sets the
pace, `inputs` gathers keys between two ticks.
"""
