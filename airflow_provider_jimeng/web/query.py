# SPDX-License-Identifier: Apache-2.0
"""What a reader can ask for: the filters and the order of the gallery, and the query that names them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import parse_qs

from fastapi import HTTPException
from pydantic import BaseModel, Field, ValidationError

if TYPE_CHECKING:
    from airflow_provider_jimeng.web.grouping import Facets

MOST_VALUES = 200
LARGEST_INTEGER = 2**31 - 1
"""The largest one of the database's columns."""

Name = Annotated[str, Field(min_length=1, max_length=250, pattern=r"^[^\x00]*$")]
Names = Annotated[list[Name], Field(max_length=MOST_VALUES)]
State = Literal["waiting", "running", "landed", "failed", "submitted"]
Sort = Literal["newest", "cost", "length", "render_time"]
_WORDS = re.compile(r'"([^"]+)"|“([^”]+)”|([^\s"“”]+)')


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """Which renders to show. ``readable`` names the DAGs that the reader can see; an empty tuple and ``None`` mean "any".

    Without ``since`` it is the 30 days before the newest render, unless ``run_ids`` names the runs. Dates without a zone
    are in UTC.
    """

    readable: frozenset[str]
    dag_ids: tuple[str, ...] = ()
    run_ids: tuple[str, ...] = ()
    states: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    ratios: tuple[str, ...] = ()
    conn_ids: tuple[str, ...] = ()
    text: str = ""
    prompt: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    sort: str = "newest"

    @property
    def words(self) -> list[str]:
        """What a search looks for: each word, and each phrase in quotes, casefolded; the longest first."""
        found = {phrase or chinese or word for phrase, chinese, word in _WORDS.findall(self.text)}
        return sorted((word.casefold() for word in found), key=len, reverse=True)

    @property
    def chosen(self) -> list[tuple[int, frozenset[str]]]:
        """The facets that are limited, by their place in ``Facets``, and the values that they can have."""
        facets = (self.dag_ids, self.run_ids, self.states, self.models, self.ratios, self.conn_ids)
        return [(at, frozenset(values)) for at, values in enumerate(facets) if values]

    def fits(self) -> Callable[[Facets], bool]:
        """Return a function that says whether renders with some facets are among the chosen ones."""
        chosen = self.chosen
        return lambda facets: all(facets[at] in values for at, values in chosen)


class RendersQuery(BaseModel):
    """The filters and the order of the gallery. All but the texts and dates can be repeated."""

    dag_id: Names = []
    run_id: Names = []
    state: list[State] = []
    model: Names = []
    ratio: Names = []
    conn_id: Names = []
    q: str = Field(default="", max_length=500)
    since: datetime | None = None
    until: datetime | None = None
    sort: Sort = "newest"

    def filters(self, readable: frozenset[str]) -> Filters:
        """Return the filters, limited to what a user can read."""
        return Filters(
            readable=readable,
            dag_ids=tuple(self.dag_id),
            run_ids=tuple(self.run_id),
            states=tuple(self.state),
            models=tuple(self.model),
            ratios=tuple(self.ratio),
            conn_ids=tuple(self.conn_id),
            text=self.q.strip(),
            since=_aware(self.since),
            until=_aware(self.until),
            sort=self.sort,
        )


def read_query(text: str) -> RendersQuery:
    """Return what the query of a gallery's address asks for.

    :raises HTTPException: 422, if it makes no sense.
    """
    fields: dict[str, Any] = {}
    for name, values in parse_qs(text).items():
        if name in RendersQuery.model_fields:
            many = name in ("dag_id", "run_id", "state", "model", "ratio", "conn_id")
            fields[name] = values if many else values[-1]
    try:
        return RendersQuery(**fields)
    except ValidationError as error:
        detail = error.errors(include_url=False, include_context=False, include_input=False)
        raise HTTPException(422, detail) from error


def _aware(moment: datetime | None) -> datetime | None:
    return moment if moment is None or moment.tzinfo else moment.replace(tzinfo=UTC)
