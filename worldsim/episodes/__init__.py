"""Floor 1: the one on-disk format for play, data and replay.

`format` says what lies where, `journal` is written ahead, `writer` is the recording thread, `finalize` makes a journal
into a data set (also after a crash), `reader` opens either, `video` is H.264 in and out. No torch, no pygame.
"""
