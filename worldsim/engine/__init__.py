"""Layer 4: play without a window.

`simulator` generates frames and `batch` those of many sessions at once; `preset_world` opens a preset with all that
belongs to it. `worker` is the simulator's thread, `session` the state machine of play, `inputs` the keys between two
ticks, `history` what was played. `recorder` and `replay` write sessions and re-run them. `estimate` predicts speed and
memory, `bench` measures them.
"""
