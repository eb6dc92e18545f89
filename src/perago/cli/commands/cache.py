"""`perago cache`: show or clear the object cache of this host."""

from __future__ import annotations

import click

from perago.cli.output import json_option, print_json, tell
from perago.running.text import count_text, size_text


@click.command()
@click.option("--clear", is_flag=True, help="Remove everything in it.")
@json_option
def command(clear: bool, as_json: bool) -> None:
    """Show or clear the object cache of this host.

    A task on a lakeFS server fetches an object once, and lists a commit of many files once; later attempts take both
    from the cache. PERAGO_CACHE_DIR is its directory, and PERAGO_CACHE_MAX_SIZE its maximum size (0 turns it off). The
    least recently used objects are removed first. Clearing the cache is safe at any time: running tasks fetch what they
    miss.
    """
    from perago.settings import check_cache, load_run_config
    from perago.workspace.cache import ObjectCache

    config = load_run_config("perago", probe_workspace_root=False)
    check_cache(config)
    with ObjectCache(config.cache_dir, config.cache_max_size) as cache:
        removed = cache.clear() if clear else None
        usage = cache.usage()
    if as_json:
        print_json(
            {
                "directory": str(cache.directory),
                "entries": usage.entries,
                "bytes": usage.bytes,
                "max_bytes": cache.max_bytes,
                "removed": None if removed is None else {"entries": removed.entries, "bytes": removed.bytes},
            }
        )
        return
    if removed is not None:
        tell(f"Removed {count_text(removed.entries, 'object')}, {size_text(removed.bytes)}")
    bound = f"of at most {size_text(cache.max_bytes)}" if cache.max_bytes else "and it is off (PERAGO_CACHE_MAX_SIZE=0)"
    tell(f"{cache.directory}: {count_text(usage.entries, 'object')}, {size_text(usage.bytes)} {bound}")
