"""Validates Kubernetes objects strictly, against the schemas that the package kubernetes-validate carries.

Arguments: versions, such as 1.33. Standard input: a JSON list of objects. Standard output: JSON with the
faults, the kinds that there is no schema for, and the number of checks. The package's own command reads a
megabyte of definitions for every object, which would take minutes; this reads it once per version.
"""
import functools
import json
import sys

import jsonschema
from kubernetes_validate import utils
from referencing import Registry, Resource


def contents(version, name):
    return utils.schema_contents(f"kubernetes-json-schema/v{version}.0-local-strict/{name}.json", version)


@functools.cache
def definitions(version):
    """The registry of everything that schemas of this version refer to."""
    return (Resource.from_contents(contents(version, "_definitions")) @ Registry()).crawl()


@functools.cache
def validator(version, kind, api_version):
    """The validator of a kind, or None where there is no schema for it."""
    group, _, rest = api_version.rpartition("/")
    try:
        schema = contents(version, "-".join(filter(None, [kind.lower(), group.split(".")[0], rest])))
    except FileNotFoundError:
        return None
    return jsonschema.validators.Draft202012Validator(
        schema, registry=Resource.from_contents(schema) @ definitions(version))


def main(versions):
    faults, unknown, checked = [], set(), 0
    for item in json.load(sys.stdin):
        kind, api_version = item["kind"], item["apiVersion"]
        for version in versions:
            found = validator(version, kind, api_version)
            if found is None:
                unknown.add(f"{kind} ({api_version})")
                continue
            checked += 1
            for error in found.iter_errors(item):
                path = ".".join(map(str, error.path))
                faults.append(f"{version}: {kind} {item['metadata']['name']}: {path}: {error.message}")
    json.dump({"faults": faults, "unknown": sorted(unknown), "checked": checked}, sys.stdout)


main(sys.argv[1:])
