# SPDX-License-Identifier: Apache-2.0
"""Measure the CPU time of one signature, ours against the vendor's SDK in the same run.

python benchmarks/signing.py
"""

from __future__ import annotations

import statistics
import time
import warnings
from typing import TYPE_CHECKING

from airflow_provider_jimeng.client.auth import Credentials, Scope, Signer

if TYPE_CHECKING:
    from collections.abc import Callable

BODY = b'{"req_key":"jimeng_t2v_v30","task_id":"7392616336519610409"}'
HOST = "visual.volcengineapi.com"
ROUNDS = 9
SIGNATURES = 2000
MOST_OF_OFFICIAL = 0.5


def ours() -> Callable[[], object]:
    signer = Signer(
        Credentials(access_key="AKTEST", secret_key="SKTEST"),  # noqa: S106 - This is a test key.
        Scope(region="cn-north-1", service="cv"),
    )
    return lambda: signer.sign(
        method="POST",
        host=HOST,
        path="/",
        query="Action=CVSync2AsyncGetResult&Version=2022-08-31",
        content_type="application/json",
        body=BODY,
        x_date="20260102T030405Z",
    )


def official() -> Callable[[], object]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from volcengine.auth.SignerV4 import SignerV4
        from volcengine.base.Request import Request
        from volcengine.Credentials import Credentials as OfficialCredentials

    credentials = OfficialCredentials("AKTEST", "SKTEST", "cv", "cn-north-1")

    def sign() -> object:
        request = Request()
        request.method, request.host, request.path, request.body = "POST", HOST, "/", BODY
        request.query = {"Action": "CVSync2AsyncGetResult", "Version": "2022-08-31"}
        request.headers = {"Content-Type": "application/json", "Host": HOST}
        SignerV4.sign(request, credentials)
        return request

    return sign


def microseconds(sign: Callable[[], object]) -> float:
    start = time.process_time()
    for _ in range(SIGNATURES):
        sign()
    return (time.process_time() - start) / SIGNATURES * 1e6


def main() -> None:
    mine, theirs = ours(), official()
    mine(), theirs()
    pairs = [(microseconds(mine), microseconds(theirs)) for _ in range(ROUNDS)]
    ratio = statistics.median(a / b for a, b in pairs)
    print(f"ours      {statistics.median(a for a, _ in pairs):7.1f} µs CPU per signature")
    print(f"official  {statistics.median(b for _, b in pairs):7.1f} µs CPU per signature")
    print(f"ratio     {ratio:7.2f} (at most {MOST_OF_OFFICIAL})")
    assert ratio <= MOST_OF_OFFICIAL


if __name__ == "__main__":
    main()
