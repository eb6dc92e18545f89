"""What a task declares of its run cache, and the key of its results. Values only.

A key has parts, each a digest or a version with a name, so that two keys can be compared part by part.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal

from perago.values.stamps import json_digest

RunCacheMode = Literal["proven", "observed", "off"]
RUN_CACHE_MODES: tuple[RunCacheMode, ...] = ("proven", "observed", "off")

Proof = Literal["proven", "observed", "trusted"]
"""Why a result depends on nothing but its key: a sandbox refused the body everything else; one that only notes has
noticed nothing else; or the task's author says so."""


@dataclass(frozen=True, kw_only=True)
class CacheSpec:
    """What a task declares.

    Attributes:
        is_trusted: its author says that its results depend on nothing but the key, whatever the body may reach.
        depends: further modules, by name, and files, by absolute path, that its results depend on.
        version: replaces the code in the key. None: the code counts.
        max_age: results that are older are not used. None: any age.
    """

    is_trusted: bool = False
    depends: tuple[str, ...] = ()
    version: str | None = None
    max_age: timedelta | None = None


@dataclass(frozen=True)
class Untold:
    """A part of a key that cannot be told, so that there is no key.

    Attributes:
        why: such as "module 'app.tasks' imports a module whose name it computes (line 12)".
    """

    why: str


@dataclass(frozen=True)
class CodeParts:
    """The code that a result depends on.

    Attributes:
        sources: of each module, `sha256:<hex>` of its syntax tree without comments and docstrings; of each data file,
            as `<package>/<path>`, of its bytes; "absent" for a module that is imported but not there.
        libraries: version of each installed distribution that is imported, and of those that it requires.
        variables: `sha256:<hex>` of each variable of the environment that the sources name; "unset" without a value.
        python: its minor version, such as "3.11".
        files: paths of the files that were read for all of this, and of the directories that were listed. No part of
            the key.
    """

    sources: Mapping[str, str] = field(default_factory=dict)
    libraries: Mapping[str, str] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)
    python: str = ""
    files: frozenset[str] = field(default=frozenset(), compare=False)


@dataclass(frozen=True, kw_only=True)
class CacheKey:
    """All that a result depends on.

    Attributes:
        task: its name.
        workspace: digest of the prefix, the patterns and the guards, filled with the params.
        inputs: digest of the listing of what the body reads: paths, contents, executable bits.
        params: digest of their canonical JSON.
        environment: digest of each variable that the task declares.
    """

    task: str
    workspace: str
    inputs: str
    params: str
    code: CodeParts
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """`sha256:<hex>` of all parts."""
        code = self.code
        return json_digest(
            {
                "task": self.task,
                "workspace": self.workspace,
                "inputs": self.inputs,
                "params": self.params,
                "environment": dict(self.environment),
                "sources": dict(code.sources),
                "libraries": dict(code.libraries),
                "variables": dict(code.variables),
                "python": code.python,
            }
        )
