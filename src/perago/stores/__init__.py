"""Versioned stores, one package each. A store knows neither the other stores nor the attempt core.

`provider` is the door of a store, and `table` finds it. Files with the same subject have the same name in each: store,
materialize, import_export, log, …; stage, publish, runs and history, too, which lakeFS has in `publication`.
"""
