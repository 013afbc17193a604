"""The codes that the emulator answers with, by what the code table calls them: their numbers stand there alone."""

from __future__ import annotations

from airflow_provider_jimeng.core.codes import BUSINESS_CODES, GATEWAY_CODES


def code_of(name: str) -> int:
    """Return the code of the one row with this vendor name or message.

    :raises LookupError: no row has it, or several.
    """
    rows = [*BUSINESS_CODES.values(), *GATEWAY_CODES.values()]
    found = {row.code for row in rows if row.name == name} or {
        row.code for row in rows if row.message == name
    }
    if len(found) != 1:
        raise LookupError(f"{len(found)} codes are called {name!r}")
    return found.pop()


INVALID_ARGS = code_of("ECReqInvalidArgs")
MISSING_ARGS = code_of("ECReqMissingArgs")
PARSE_ARGS = code_of("ECParseArgs")
IMAGE_TOO_LARGE = code_of("Image Size Limited")
IMAGE_EMPTY = code_of("Image Empty")
IMAGE_DECODE = code_of("Image Decode Error")
BODY_TOO_LARGE = code_of("ECReqBodySizeLimited")
INPUT_INVALID = code_of("Input invalid for this service.")
TEXT_RISK = code_of("Text Risk Not Pass")
OUTPUT_RISK = code_of("Post Img Risk Not Pass")
RATE_LIMIT = code_of("ECReqLimit")
CONCURRENCY_LIMIT = code_of("Request Has Reached API Concurrent Limit, Please Try Later")
NOT_ACTIVATED = code_of("ECAuth")

MISSING_PARAMETER = code_of("MissingParameter")
MISSING_AUTHENTICATION = code_of("MissingAuthenticationToken")
MISSING_REQUEST_INFO = code_of("MissingRequestInfo")
MISSING_SIGNATURE = code_of("MissingSignature")
INVALID_TIMESTAMP = code_of("InvalidTimestamp")
SERVICE_NOT_FOUND = code_of("ServiceNotFound")
INVALID_ACTION = code_of("InvalidActionOrVersion")
INVALID_ACCESS_KEY = code_of("InvalidAccessKey")
WRONG_SIGNATURE = code_of("SignatureDoesNotMatch")
METHOD_NOT_ALLOWED = code_of("MethodNotAllowed")
INVALID_AUTHORIZATION = code_of("InvalidAuthorization")
INVALID_CREDENTIAL = code_of("InvalidCredential")
INVALID_TOKEN = code_of("InvalidSecretToken")
