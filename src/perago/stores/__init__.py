"""Versioned stores, one package each. A store knows neither the other stores nor the attempt core.

Files with the same subject have the same name in each: store, stage, publish, history, materialize, import_export, …
"""
