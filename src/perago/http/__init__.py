"""What adapters need of HTTP: one pool for calls and bytes, deadlines, safe retries, and no secret in any fault.

The modules here load aiohttp; import them late.
"""
