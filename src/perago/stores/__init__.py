"""Versioned stores: one package each, which knows neither the other nor the attempt core.

The same thing has the same file name in each: store, stage, publish, history, materialize, import_export, clean, …
"""
