"""Time and memory of attempts, compared with other tools that do the same.

`make bench` measures every part (`benchmarks/<part>/part.py`), and writes RESULTS.md and the plots to this directory.
`make bench BENCH_ONLY=git` measures one part again and keeps the sections of the others.
"""
