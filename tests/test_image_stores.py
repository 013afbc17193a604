# SPDX-License-Identifier: Apache-2.0
"""Images from stores that work, and from stores that do not."""

from __future__ import annotations

import io
from typing import Any

import pytest
from PIL import Image

from airflow_provider_jimeng.core.errors import ParameterError, UnreadableImageError
from airflow_provider_jimeng.core.parameters import RenderRequest
from airflow_provider_jimeng.images import open_images
from tests.harness.stores import RemoteStore, attached


def request_with_frame(store: RemoteStore) -> RenderRequest:
    picture = io.BytesIO()
    Image.new("RGB", (1280, 720), "red").save(picture, "JPEG")
    store.pipe_file("/bucket/kite.jpg", picture.getvalue())
    url = f"memory://{attached(store)}@bucket/kite.jpg"
    return RenderRequest.build(prompt="a red kite", model="i2v_first_720p", first_frame=url)


def test_an_image_is_read_through_the_connection_in_its_url() -> None:
    store = RemoteStore()
    opened = open_images(request_with_frame(store))
    assert opened.first_frame is not None
    assert opened.first_frame.data == store.cat_file("/bucket/kite.jpg")
    assert (opened.first_frame.format, opened.first_frame.width) == ("JPEG", 1280)


@pytest.mark.parametrize(
    ("error", "retryable"),
    [
        (ConnectionResetError("the store hung up"), True),
        (EOFError("the store hung up"), True),
        (PermissionError("the store hung up"), False),
        (FileNotFoundError("the store hung up"), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_a_retry_may_mend_is_told_from_what_it_does_not(error: Exception, retryable: bool) -> None:
    class Down(RemoteStore):
        def _open(self, path: str, mode: str = "rb", **options: Any) -> Any:
            if "r" in mode:
                raise error
            return super()._open(path, mode, **options)

    with pytest.raises(
        ParameterError, match=r"first_frame: '.*kite\.jpg' cannot be opened .*hung up"
    ) as caught:
        open_images(request_with_frame(Down()))
    assert caught.value.retryable is retryable
    assert isinstance(caught.value, UnreadableImageError) is retryable
