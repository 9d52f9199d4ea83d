"""Floor 4: play without a window.

`simulator` makes frames, `worker` is its thread, `session` sets the pace, `inputs` gathers keys between two ticks.
"""
