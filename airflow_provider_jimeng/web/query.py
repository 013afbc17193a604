# SPDX-License-Identifier: Apache-2.0
"""What the query of the gallery can ask for."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from urllib.parse import parse_qs

from fastapi import HTTPException
from pydantic import BaseModel, Field, ValidationError

from airflow_provider_jimeng.web.store import Filters

MOST_VALUES = 200
LARGEST_INTEGER = 2**31 - 1
"""The largest one of the database's columns."""

Name = Annotated[str, Field(min_length=1, max_length=250, pattern=r"^[^\x00]*$")]
Names = Annotated[list[Name], Field(max_length=MOST_VALUES)]
State = Literal["waiting", "running", "landed", "failed", "submitted"]
Sort = Literal["newest", "cost", "length", "render_time"]


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
            since=self.since,
            until=self.until,
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
