# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Would OpenSearch take the new documents?"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from invenio_indexer.proxies import current_indexer_registry
from invenio_search import current_search_client
from invenio_search.engine import search as engine
from invenio_search.utils import build_alias_name

from .. import health
from ..config import Options
from ..names import INDEXER_OF_KIND
from ..rules import escape
from .line import Line, fine, stop, warning

TIMEOUT_SECONDS = 5
"""How long OpenSearch may take for each answer."""

BLOCKS = ("read_only", "read_only_allow_delete", "write")
"""The blocks of an index under which it takes no document."""

WATERMARK = "cluster.routing.allocation.disk.watermark"
UNITS = {"b": 1, "kb": 2**10, "mb": 2**20, "gb": 2**30, "tb": 2**40}

SICK = (
    "Bring OpenSearch in order first. Without it the dates become right, and the index"
    " only after `invenio kcworks-created-dates reindex`."
)


def search(options: Options) -> Iterable[Line]:
    """Look at the health of the cluster, and at more if it answers at all."""
    found = health.look(options.health_timeout_seconds)
    fact = f"{found.reason[:200].rstrip('.')}."
    if found.status == "yellow":
        todo = "It indexes all the same: copies of shards have no node to be on."
        yield warning("search", fact, todo)
    else:
        yield (fine("search", fact) if found.is_healthy else stop("search", fact, SICK))
    if found.status not in ("unreachable", "error"):
        yield from _blocks()
        yield from _disks()


def _blocks() -> Iterable[Line]:
    """Look for what makes an index of the instance, or all of them, read-only."""
    names = [
        build_alias_name(current_indexer_registry.get(id).record_cls.index._name)
        for id in INDEXER_OF_KIND.values()
    ]
    try:
        answer = current_search_client.indices.get_settings(
            index=",".join(names),
            name="index.blocks.*",
            flat_settings=True,
            request_timeout=TIMEOUT_SECONDS,
        )
    except engine.exceptions.NotFoundError:
        yield stop(
            "search_blocks",
            f"OpenSearch lacks an index: {', '.join(names)}.",
            "Make the indices first: `invenio index init`.",
        )
        return
    blocked = [
        f"{index} has {block}"
        for index, found in sorted(answer.items())
        for block in BLOCKS
        if found["settings"].get(f"index.blocks.{block}") == "true"
    ]
    settings = _cluster_settings()
    blocked += [
        f"the cluster has {block}"
        for block in BLOCKS
        if settings.get(f"cluster.blocks.{block}") == "true"
    ]
    if blocked:
        yield stop(
            "search_blocks",
            f"Writing is blocked: {', '.join(blocked)}.",
            "Make room on its disks, then put the setting to null. Workers throw away"
            " what they are told to index meanwhile.",
        )
    else:
        yield fine("search_blocks", "No index of the instance is read-only.")


def _disks() -> Iterable[Line]:
    """Look how far the fullest node is from where OpenSearch stops writing."""
    answer = current_search_client.nodes.stats(
        metric="fs", request_timeout=TIMEOUT_SECONDS
    )
    settings = _cluster_settings()
    lines = []
    for node in answer["nodes"].values():
        total = node.get("fs", {}).get("total", {})
        if "data" not in node.get("roles", ()) or not total.get("total_in_bytes"):
            continue
        free, size = total["available_in_bytes"], total["total_in_bytes"]
        fact = (
            f"Node {escape(node['name'], 100)} has {free / size:.0%} of its disk free"
            f" ({free / 2**30:,.1f} GiB)"
        )
        for name, make in (("flood_stage", stop), ("high", warning)):
            if free < wanted_bytes(settings.get(f"{WATERMARK}.{name}", ""), size):
                todo = "Make room: OpenSearch makes indices read-only at flood_stage."
                lines.append(make("search_disk", f"{fact}, under {name}.", todo))
                break
        else:
            lines.append(fine("search_disk", f"{fact}."))
    worst = [line for line in lines if line.level != "fine"]
    yield from worst or lines[:1]


def wanted_bytes(watermark: str, total_bytes: int) -> float:
    """Read a watermark: how much must be free of a disk?

    Args:
        watermark: A share of what is used (``95%``, ``0.95``), or what is to be free
            (``500mb``).
        total_bytes: The size of the disk.

    Returns:
        Bytes; 0 if it can't be read.
    """
    found = re.fullmatch(r"([\d.]+)\s*(%|[a-z]*)", watermark.strip().lower())
    if found is None:
        return 0
    number, unit = float(found[1]), found[2]
    if unit in ("", "%"):
        return total_bytes * (1 - number / (100 if unit else 1))
    return number * UNITS.get(unit, 0)


def _cluster_settings() -> Mapping[str, Any]:
    """Read the settings of the cluster, what was set last before the defaults."""
    answer = current_search_client.cluster.get_settings(
        include_defaults=True, flat_settings=True, request_timeout=TIMEOUT_SECONDS
    )
    return {
        **answer.get("defaults", {}),
        **answer.get("persistent", {}),
        **answer.get("transient", {}),
    }
