"""Memory Maze (Pasukonis et al., 2022), the world of the paper: mazes of the package `memory-maze` over MuJoCo.

`config` says what there is, `layout` is the plan of a maze, `world` plays it, `policies` walk in it. Only `engine`
imports the package, and only when an engine starts.
"""
