"""The JSON schemas of OpenLineage's specification, as its repository has them (tests/telemetry/vendor/openlineage)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urldefrag, urlsplit
from uuid import UUID

from jsonschema import Draft202012Validator, FormatChecker
from referencing import Registry, Resource

SPECIFICATION = Path(__file__).parents[1] / "telemetry" / "vendor" / "openlineage"
_OWN_FACETS = frozenset({"perago_attempt"})
"""Facets without a schema of their own; they are of the base class that the specification has for such ones."""

_SCHEMAS = [json.loads(path.read_text()) for path in sorted(SPECIFICATION.glob("*.json"))]
_REGISTRY = Registry().with_resources([(schema["$id"], Resource.from_contents(schema)) for schema in _SCHEMAS])
_FORMATS = FormatChecker(formats=())


@_FORMATS.checks("uri", raises=ValueError)
def _is_uri(value: object) -> bool:
    return not isinstance(value, str) or bool(urlsplit(value).scheme)


@_FORMATS.checks("uuid", raises=ValueError)
def _is_uuid(value: object) -> bool:
    return not isinstance(value, str) or str(UUID(value)) == value


def expect_valid(event: dict[str, Any]) -> None:
    """Hold an event against the schema that it names, and each of its facets against the facet's own.

    A facet must have a schema in the specification, under the name that this gives it.
    """
    _expect(event["schemaURL"], event)
    for name, facet in _facets(event):
        url = facet["_schemaURL"]
        _expect(url, facet)
        if name not in _OWN_FACETS:
            document, _ = urldefrag(url)
            schema = next(schema for schema in _SCHEMAS if schema["$id"] == document)
            assert name in schema["properties"], f"{name} is no name of {document}"
            Draft202012Validator(schema, registry=_REGISTRY, format_checker=_FORMATS).validate({name: facet})


def _expect(url: str, value: object) -> None:
    Draft202012Validator({"$ref": url}, registry=_REGISTRY, format_checker=_FORMATS).validate(value)


def _facets(event: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    yield from event["run"]["facets"].items()
    yield from event["job"]["facets"].items()
    for dataset in (*event["inputs"], *event["outputs"]):
        for kind in ("facets", "inputFacets", "outputFacets"):
            yield from dataset.get(kind, {}).items()
