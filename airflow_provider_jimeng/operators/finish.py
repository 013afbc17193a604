# SPDX-License-Identifier: Apache-2.0
"""The operator that makes a saved video fit to publish: labels, posters, previews, renditions. It never pays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import is_dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import BaseOperator

from airflow_provider_jimeng.core.arguments import is_final, read_text
from airflow_provider_jimeng.core.errors import ParameterError
from airflow_provider_jimeng.finishing.request import DEFAULT_THREADS, FinishRequest, read_threads
from airflow_provider_jimeng.operators.base import DEFAULT_RETRIES, airflow_errors, with_default_policy
from airflow_provider_jimeng.operators.lineage import LineageOperator
from airflow_provider_jimeng.operators.xcom import add_to_outlets

if TYPE_CHECKING:
    from collections.abc import Mapping
    from os import PathLike
    from typing import Unpack

    from airflow.providers.common.compat.sdk import Context, ObjectStoragePath, RetryPolicy, XComArg

    from airflow_provider_jimeng.finishing.request import (
        Audio,
        Concat,
        Poster,
        Preview,
        Rendition,
        VisibleLabel,
    )
    from airflow_provider_jimeng.operators.arguments import OperatorArguments

__all__ = ["JimengFinishVideoOperator"]

_PARTS = ("visible_label", "poster", "preview", "renditions", "concat", "audio", "require_implicit")


class JimengFinishVideoOperator(LineageOperator, BaseOperator):
    """Make derivatives of a saved video beside it: with labels, in other sizes, joined, with sound; pictures of it.

    The original is never changed. Each derivative has a manifest of its own, which names the sources with their SHA-256.
    What exists already, made in the same way of the same bytes, is not made again. A label that the API wrote into the
    file (AIGC) is copied byte for byte; none is ever invented. Needs the extra ``[media]`` on the workers.

    XCom: ``return_value`` is the list of the derivatives' manifests. Outlets get the first one as the extra of their
    asset event, with all of them under ``derivatives``.

    :param video: the manifest of the task that saved the video, the URI of a video, or a list of them.
    :param visible_label: text on the picture that says that the video is generated: ``True`` for "AI生成", a text, or a
        dict with ``text``, ``position``, ``show`` (``opening`` or ``throughout``), ``seconds``, ``size``, ``font``. The
        limits are those of GB 45438-2025: 2 seconds, 5 % of the shortest side.
    :param poster: one frame as a picture: ``True`` for the sharpest of the first second, or a dict with ``at`` (seconds)
        and ``format`` (``jpeg`` or ``webp``).
    :param preview: a sheet of small frames with a WebVTT track: ``True``, or a dict with ``seconds`` and ``width``.
    :param renditions: list of dicts with ``name``, ``aspect_ratio``, ``size`` (shortest side in pixels), ``fit``
        (``crop`` or ``blur``), ``focus``, ``max_bitrate_kbps``, ``crf``, ``preset``, ``faststart``.
    :param concat: all videos become one: ``True``, or a dict with ``name`` and ``cross_fade`` (seconds).
    :param audio: path or URI of a file with sound, or a dict with ``uri``, ``start``, ``fade_in``, ``fade_out`` (seconds)
        and ``volume``.
    :param require_implicit: fail if a source has no implicit label.
    :param output_conn_id: Airflow connection of the storage.
    :param threads: how many threads the decoder may use, and the encoder.
    """

    template_fields: Sequence[str] = (
        "video",
        *_PARTS,
        "output_conn_id",
        "threads",
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {"video": "json", "renditions": "json"}
    ui_color = "#e6f4ea"

    def __init__(
        self,
        *,
        video: Mapping[str, Any] | str | PathLike[str] | ObjectStoragePath | Sequence[Any] | XComArg,
        visible_label: bool | str | Mapping[str, Any] | VisibleLabel | XComArg | None = None,
        poster: bool | str | Mapping[str, Any] | Poster | XComArg | None = None,
        preview: bool | str | Mapping[str, Any] | Preview | XComArg | None = None,
        renditions: Sequence[Mapping[str, Any] | Rendition] | str | XComArg | None = None,
        concat: bool | str | Mapping[str, Any] | Concat | XComArg | None = None,
        audio: str | Mapping[str, Any] | Audio | XComArg | None = None,
        require_implicit: bool | str | XComArg = False,
        output_conn_id: str | XComArg | None = None,
        threads: int | str | XComArg = DEFAULT_THREADS,
        retries: int | None = DEFAULT_RETRIES,
        retry_policy: RetryPolicy | None = None,
        **kwargs: Unpack[OperatorArguments],
    ) -> None:
        super().__init__(retries=retries, **with_default_policy(kwargs, retry_policy))
        self.video: Any = video
        self.visible_label: Any = visible_label
        self.poster: Any = poster
        self.preview: Any = preview
        self.renditions: Any = renditions
        self.concat: Any = concat
        self.audio: Any = audio
        self.require_implicit: Any = require_implicit
        self.output_conn_id: Any = output_conn_id
        self.threads: Any = threads
        self._check_literals()

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Make what is not made yet, and return all manifests."""
        with airflow_errors(self):
            try:
                from airflow_provider_jimeng.finishing.derivatives import finish
            except ImportError as error:
                raise ParameterError(
                    "video",
                    f"cannot be finished here ({error}). On the workers run pip install "
                    "'airflow-provider-jimeng[media]'.",
                ) from None
            made: list[dict[str, Any]] = finish(
                self.video,
                **self._parts(),
                output_conn_id=read_text("output_conn_id", self.output_conn_id),
                threads=self.threads,
            )
            add_to_outlets(self, context, made[0]["uri"], {**made[0], "derivatives": made})
            return made

    def _check_literals(self) -> None:
        """Check what no template can change any more.

        :raises ParameterError: naming the argument, the limit and the remedy.
        """
        parts = self._parts()
        known = {name: value for name, value in parts.items() if _is_known(value)}
        FinishRequest.of(**known, is_complete=len(known) == len(parts))
        if is_final(self.threads):
            read_threads(self.threads)

    def _parts(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in _PARTS}


def _is_known(value: Any) -> bool:
    """Return whether no template can change a part any more. Airflow renders no template in objects of our classes."""
    if isinstance(value, list | tuple):
        return all(map(_is_known, value))
    return is_final(value) or is_dataclass(value)
