"""Transfers and small attempts over links of a given round trip time, beside lakectl."""
