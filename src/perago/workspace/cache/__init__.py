"""The host's cache of objects that were fetched or sent, so that no attempt fetches them again."""

from perago.workspace.cache.copying import EntryCopy
from perago.workspace.cache.objects import ObjectCache, cache_key
from perago.workspace.cache.room import Usage

__all__ = ["EntryCopy", "ObjectCache", "Usage", "cache_key"]
