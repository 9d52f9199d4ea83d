"""Memory Maze (Pasukonis et al., 2022), the world of the paper: mazes of the package `memory-maze` on MuJoCo.

`config` describes a world, `layout` is the plan of a maze, `world` plays it, `policies` walk in it. Only `engine`
imports the package, when an engine starts.
"""
