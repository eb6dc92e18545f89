"""How long an attempt on the git store takes, and how much memory, beside plain git doing the same.

`make bench` measures, and writes RESULTS.md and the plots beside this file.
"""
