# SPDX-License-Identifier: Apache-2.0
"""Tells OpenLineage the input files of a task, its output files, and the render that made them.

Only the provider of OpenLineage imports this module, through the operators. The package does not need that provider.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

from airflow.providers.common.compat.openlineage.facet import (
    InputDataset,
    OutputDataset,
    OutputStatisticsOutputDatasetFacet,
    RunFacet,
)
from airflow.providers.common.compat.openlineage.utils.utils import translate_airflow_asset
from airflow.providers.common.compat.sdk import Asset
from airflow.providers.openlineage.extractors import OperatorLineage
from attrs import define

from airflow_provider_jimeng.core.render import manifest_or_none
from airflow_provider_jimeng.operators.xcom import RENDER

if TYPE_CHECKING:
    from airflow_provider_jimeng.operators.lineage import LineageOperator

_Kind = TypeVar("_Kind", InputDataset, OutputDataset)


@define
class JimengRenderRunFacet(RunFacet):
    """The render that made the output. The prompt is here as its SHA-256 only.

    ``costCny`` is decimal text, ``None`` if the price is unknown. ``aigcLabel`` is the implicit label in the file.
    """

    renderId: str  # noqa: N815 - facets of OpenLineage are written so
    model: str
    reqKey: str  # noqa: N815
    promptSha256: str | None = None  # noqa: N815
    durationSeconds: int | None = None  # noqa: N815
    aspectRatio: str | None = None  # noqa: N815
    costCny: str | None = None  # noqa: N815
    aigcLabel: dict[str, Any] | None = None  # noqa: N815


def lineage_of(operator: LineageOperator) -> OperatorLineage[Any, Any]:
    """Return the lineage of a task that is over. After a failure there is no output."""
    made = operator.made_files
    inputs = [
        *operator.lineage_inputs(),
        *(each["uri"] for file in made for each in file.get("source") or ()),
    ]
    return OperatorLineage(
        inputs=[dataset(InputDataset, uri) for uri in dict.fromkeys(inputs)],
        outputs=[_output(file) for file in made],
        run_facets=_render_facet(made),
    )


def dataset(kind: type[_Kind], uri: str, **facets: Any) -> _Kind:
    """Return the dataset of a file, with the name that the converters of Airflow's providers give it.

    A store without a converter is named after the rule of OpenLineage: scheme and host, then the path. A link loses its
    query and its user information, which can be a signature or a password.
    """
    parts = urlsplit(uri)
    if not parts.scheme:
        return kind(namespace="file", name=str(Path(uri).absolute()), **facets)
    host = parts.netloc.rpartition("@")[2]
    clean = urlunsplit((parts.scheme, host, parts.path, "", ""))
    named = _as_airflow_does(clean)
    if named is not None:
        return kind(namespace=named[0], name=named[1], **facets)
    return kind(namespace=f"{parts.scheme}://{host}", name=parts.path.lstrip("/") or "/", **facets)


def _as_airflow_does(uri: str) -> tuple[str, str] | None:
    try:
        identifier = translate_airflow_asset(Asset(uri=uri), None)
    except ValueError:  # Airflow refuses some URIs as assets, for example those that are not ASCII
        return None
    return None if identifier is None else (identifier.namespace, identifier.name)


def _output(file: Mapping[str, Any]) -> OutputDataset:
    statistics = OutputStatisticsOutputDatasetFacet(size=file.get("bytes"), fileCount=1)
    return dataset(OutputDataset, file["uri"], outputFacets={"outputStatistics": statistics})


def _render_facet(made: Iterable[Mapping[str, Any]]) -> dict[str, RunFacet]:
    for file in made:
        if (manifest := manifest_or_none(file)) is not None:
            return {RENDER: _facet_of(manifest)}
    return {}


def _facet_of(manifest: Mapping[str, Any]) -> JimengRenderRunFacet:
    prompt = manifest.get("prompt")
    return JimengRenderRunFacet(
        renderId=str(manifest["task_id"]),
        model=manifest["model"],
        reqKey=manifest["req_key"],
        promptSha256=hashlib.sha256(prompt.encode()).hexdigest() if prompt else None,
        durationSeconds=manifest.get("duration"),
        aspectRatio=manifest.get("aspect_ratio"),
        costCny=manifest.get("cost_cny"),
        aigcLabel=manifest.get("aigc_label"),
    )
