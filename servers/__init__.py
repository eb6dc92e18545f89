"""Real servers on loopback for tests and benchmarks, and a proxy that injects faults.

They need only the standard library. Nothing here is installed with Perago.

    python -m servers.lakefs run        run a lakeFS for manual use, until Ctrl-C
    python -m servers.lakefs build      only build it
    python -m servers.conductor run     run a Conductor, until Ctrl-C
    python -m servers.conductor fetch   only fetch it
"""
