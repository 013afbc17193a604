"""Uploads in parts that a killed landing left unfinished in an S3: nobody sees them, and they are billed until aborted.

Other stores drop theirs by themselves after some days.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

log = logging.getLogger(__name__)


def abort_unfinished(fs: Any, path: str) -> None:
    """Abort the unfinished uploads of one object, where the file system speaks S3.

    Credentials that may write need not be allowed to look for them; the landing goes on without.
    """
    if not (hasattr(fs, "call_s3") and hasattr(fs, "split_path")):
        return
    try:
        bucket, key, _ = fs.split_path(path)
        for upload_id in _unfinished(fs, bucket, key):
            fs.call_s3("abort_multipart_upload", Bucket=bucket, Key=key, UploadId=upload_id)
            log.info("Aborted an unfinished upload of %s by an earlier landing.", path)
    except Exception as error:  # noqa: BLE001 - no two file systems agree on their classes
        log.info("Cannot look for unfinished uploads of %s (%s).", path, type(error).__name__)


def _unfinished(fs: Any, bucket: str, key: str) -> Iterator[str]:
    reply = fs.call_s3("list_multipart_uploads", Bucket=bucket, Prefix=key)
    for upload in reply.get("Uploads") or ():
        if upload["Key"] == key:  # the prefix matches longer names, too
            yield upload["UploadId"]
