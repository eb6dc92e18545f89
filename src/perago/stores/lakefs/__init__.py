"""The store on a lakeFS server.

The modules here load aiohttp; import them late.
"""
