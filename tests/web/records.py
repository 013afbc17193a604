# SPDX-License-Identifier: Apache-2.0
"""Renders written straight into Airflow's own tables, in the form that the operators leave there."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pendulum
from sqlalchemy import insert, select

from airflow_provider_jimeng.core.parameters import RenderRequest
from airflow_provider_jimeng.core.record import Record, RecordState, TaskKey
from airflow_provider_jimeng.core.render import Render, RenderManifest

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

NOW = pendulum.datetime(2026, 5, 4, 12, 0, 0)


def render_payload(**changes: Any) -> dict[str, Any]:
    """What `jimeng_render` holds after a submit; keys beyond a render's, such as `outcome`, are added as they are."""
    known: dict[str, Any] = {
        "task_id": "7001",
        "req_key": "any_key",
        "model": "t2v_720p",
        "jimeng_conn_id": "jimeng_default",
        "submitted_at": NOW,
        "fingerprint": "f" * 64,
        "prompt": "A paper boat sails down a rainy street",
        "seed": 42,
        "duration": 5,
        "aspect_ratio": "16:9",
        "estimated_cost_cny": Decimal("1.40"),
    }
    extra = {name: changes.pop(name) for name in list(changes) if name not in known}
    return Render(**known | changes).to_payload() | extra


def manifest_payload(path: Path | str, **changes: Any) -> dict[str, Any]:
    """What a task that landed `path` returns; a render's fields can be changed too."""
    render = Render.from_payload(
        render_payload(**{k: changes.pop(k) for k in list(changes) if k in RENDER_FIELDS})
    )
    known: dict[str, Any] = {
        "uri": f"file://{path}" if str(path).startswith("/") else str(path),
        "bytes": 1234,
        "sha256": "a" * 64,
        "width": 1280,
        "height": 720,
        "fps": 24.0,
        "frames": 121,
        "duration_seconds": 5.042,
        "landed_at": render.submitted_at.add(seconds=75),
        "request_id": "req-1",
        "aigc_meta_tagged": True,
        "cost_cny": render.estimated_cost_cny,
        "polls": 4,
        "queued_seconds": 10.0,
        "render_seconds": 60.0,
    }
    fields = {name: getattr(render, name) for name in RENDER_FIELDS}
    return RenderManifest(**fields, **known | changes).to_payload()


def intent_payload(**changes: Any) -> dict[str, Any]:
    """What `jimeng_intent` holds after a submit whose answer was lost; the changes are to its request."""
    request = RenderRequest.build(prompt="A submit without an answer", model="t2v_720p")
    intent = Record(
        state=RecordState.INTENT,
        key=TaskKey(dag_id="ads", run_id="run_1", task_id="render"),
        requested="a" * 64,
        fingerprint="a" * 64,
        take=1,
        max_tries=1,
        try_number=1,
        intent_at=NOW.isoformat(),
        jimeng_conn_id="jimeng_default",
        request=request.summary() | changes,
    )
    return {**intent.to_payload(), "message": "The answer to a submit was lost."}


RENDER_FIELDS = tuple(Render.__dataclass_fields__)


@dataclass
class Records:
    """Writes DAG runs, task instances, XComs and rendered arguments."""

    session: Session
    _runs: dict[tuple[str, str], int] = field(default_factory=dict)

    def add(
        self,
        *,
        dag_id: str = "ads",
        run_id: str = "run_1",
        task_id: str = "render",
        map_index: int = -1,
        state: str | None = "success",
        render: Any = None,
        manifest: Any = None,
        refusal: Any = None,
        intent: Any = None,
        earlier: Any = None,
        arguments: dict[str, Any] | None = None,
        at: pendulum.DateTime = NOW,
        commit: bool = True,
    ) -> dict[str, Any]:
        """Add one task instance with what it pushed; returns the parameters that name it to the routes."""
        from airflow.models.renderedtifields import RenderedTaskInstanceFields
        from airflow.models.taskinstance import TaskInstance
        from airflow.models.xcom import XComModel

        ref = {"dag_id": dag_id, "run_id": run_id, "task_id": task_id, "map_index": map_index}
        run = self.run(dag_id, run_id, at)
        self._insert(
            TaskInstance,
            **ref,
            state=state,
            pool="default_pool",
            try_number=1,
            start_date=at,
            operator="Any",
        )
        pushed = {
            "jimeng_render": render,
            "return_value": manifest,
            "jimeng_refusal": refusal,
            "jimeng_intent": intent,
            "jimeng_earlier": earlier,
        }
        for key, value in pushed.items():
            if value is not None:
                self._insert(XComModel, **ref, dag_run_id=run, key=key, value=value, timestamp=at)
        if arguments is not None:
            self._insert(RenderedTaskInstanceFields, **ref, rendered_fields=arguments)
        if commit:
            self.session.commit()
        return ref

    def landed(
        self, path: Path | str, *, dag_id: str = "ads", run_id: str = "run_1", **more: Any
    ) -> dict[str, Any]:
        """Add a render that was landed at `path`; names of payload fields go there, the others to `add`.

        A file that is there gets its manifest beside it, as a landing leaves it.
        """
        payload = {
            name: more.pop(name) for name in list(more) if name in MANIFEST_FIELDS and name != "task_id"
        }
        payload["task_id"] = more.pop("render_id", "7001")
        render = {name: value for name, value in payload.items() if name in RENDER_FIELDS}
        file = Path(path)
        if file.is_file():
            content = file.read_bytes()
            payload |= {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            sidecar = file.with_name(f"{file.name}.json")
            if not sidecar.exists():
                sidecar.write_text(json.dumps(manifest_payload(path, **payload)), encoding="utf-8")
        return self.add(
            dag_id=dag_id,
            run_id=run_id,
            render=render_payload(**render),
            manifest=manifest_payload(path, **payload),
            **more,
        )

    def run(self, dag_id: str, run_id: str, at: pendulum.DateTime) -> int:
        """Return the database's id of a run, which is added the first time."""
        from airflow.models.dagrun import DagRun

        if (dag_id, run_id) not in self._runs:
            self._insert(
                DagRun,
                dag_id=dag_id,
                run_id=run_id,
                run_type="manual",
                state="success",
                run_after=at,
                logical_date=None,
            )
            found = self.session.scalar(
                select(DagRun.id).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id)
            )
            assert found is not None
            self._runs[dag_id, run_id] = found
        return self._runs[dag_id, run_id]

    def _insert(self, model: Any, **values: Any) -> None:
        self.session.execute(insert(model.__table__).values(**values))


MANIFEST_FIELDS = tuple(RenderManifest.__dataclass_fields__)
