"""Real servers on loopback for the tests and the benchmarks, and a proxy that spoils what passes between.

The standard library is all they need. Nothing here is installed with Perago.

    python -m servers.lakefs run       a lakeFS to work against by hand, until Ctrl-C
    python -m servers.lakefs build     only build it
    python -m servers.conductor run    a Conductor, until Ctrl-C
    python -m servers.conductor fetch only fetch it
"""
