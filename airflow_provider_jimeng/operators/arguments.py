# SPDX-License-Identifier: Apache-2.0
"""The arguments of Airflow's own base classes, so that editors and type checkers know them and find a misspelt one."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol, Required, TypedDict

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import DAG, RetryPolicy, TaskGroup

    Callback = Callable[..., Any] | list[Callable[..., Any]]


class TaskArguments(TypedDict, total=False):
    """What ``BaseOperator`` of some supported Airflow takes, without the arguments that our operators name."""

    task_id: Required[str]
    allow_nested_operators: bool
    dag: DAG | None
    default_args: dict[str, Any] | None
    depends_on_past: bool
    do_xcom_push: bool
    doc: str | None
    doc_json: str | None
    doc_md: str | None
    doc_rst: str | None
    doc_yaml: str | None
    email: str | Sequence[str] | None
    email_on_failure: bool
    email_on_retry: bool
    end_date: datetime | None
    execution_timeout: timedelta | None
    executor: str | None
    executor_config: dict[str, Any] | None
    ignore_first_depends_on_past: bool
    inlets: Any
    logger_name: str | None
    map_index_template: str | None
    max_active_tis_per_dag: int | None
    max_active_tis_per_dagrun: int | None
    max_retry_delay: timedelta | float | None
    multiple_outputs: bool
    on_execute_callback: Callback | None
    on_failure_callback: Callback | None
    on_retry_callback: Callback | None
    on_skipped_callback: Callback | None
    on_success_callback: Callback | None
    outlets: Any
    owner: str
    params: MutableMapping[str, Any] | None
    pool: str | None
    pool_slots: int
    post_execute: Callable[..., None] | None
    pre_execute: Callable[..., None] | None
    priority_weight: int
    queue: str
    render_template_as_native_obj: bool | None
    resources: dict[str, Any] | None
    retry_delay: timedelta | float
    retry_exponential_backoff: bool | float
    run_as_user: str | None
    sla: timedelta | None
    start_date: datetime | None
    task_display_name: str | None
    task_group: TaskGroup | None
    wait_for_downstream: bool
    wait_for_past_depends_before_skipping: bool
    weight_rule: str


class OperatorArguments(TaskArguments, total=False):
    """What ``BaseOperator`` takes beside the arguments of an operator."""

    trigger_rule: str


class ReportArguments(TaskArguments, total=False):
    """The same for the report, which names ``trigger_rule`` and has no retry policy of its own."""

    retry_policy: RetryPolicy | None


class PlanArguments(OperatorArguments, total=False):
    """The same for the plan, which has no retry policy of its own."""

    retry_policy: RetryPolicy | None


class SensorArguments(OperatorArguments, total=False):
    """What ``BaseSensorOperator`` takes beside the arguments of a sensor."""

    exponential_backoff: bool
    max_wait: timedelta | float | None
    mode: str
    never_fail: bool
    silent_fail: bool
    soft_fail: bool
    timeout: timedelta | float | None


class DataFrame(Protocol):
    """A table of pandas, polars or Arrow."""

    @property
    def columns(self) -> Any:
        """The columns, or their names."""
