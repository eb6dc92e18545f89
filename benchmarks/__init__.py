"""How long attempts take, and how much memory, beside other tools doing the same.

`make bench` measures every part (`benchmarks/<part>/part.py`), and writes RESULTS.md and the plots beside this file.
`make bench BENCH_ONLY=git` measures one part again, and leaves what the file says of the others.
"""
