"""Layer 1: recorded sessions, the one on-disk format of play, data and replay.

`format` defines it, `journal` is the write-ahead log, `writer` the recording thread, `finalize` turns a journal into a
dataset (also after a crash), `reader` opens both, `video` encodes and decodes H.264. No torch, no pygame.
"""
