# SPDX-License-Identifier: Apache-2.0
"""The errors that this package raises. Import them from here.

::

    JimengError
    ├── ParameterError            an argument is refused; nothing was sent or paid
    │   └── UnreadableImageError · UnreadableRowsError  a store does not answer in time
    ├── SettingsError             the connection is unusable; nothing was sent or paid
    │   └── MissingConnectionError  the connection does not exist
    ├── TransportError            no readable answer
    │   ├── NotSentError          the request certainly never reached the API
    │   ├── NoReplyError          the request was sent, and there was no answer
    │   └── UnreadableReplyError  the answer is not the API's JSON
    │       └── RedirectedError   the endpoint redirects; nothing was accepted
    ├── ApiError                  the API answered with a code
    │   ├── InputRejectedError    the API cannot use an argument or an image
    │   ├── InputModeratedError   moderation refused the prompt or an input image
    │   ├── OutputModeratedError  moderation refused the finished picture; another seed might pass
    │   ├── RateLimitedError      too many requests per second
    │   ├── ConcurrencyLimitedError  too many renders at once: no slot is free
    │   ├── AuthenticationError   the key, the signature or the clock is wrong
    │   ├── PermissionDeniedError the account is not allowed to use this capability
    │   ├── ServerError           the API had an error; the outcome of the request is unknown
    │   └── UnknownCodeError      the code table has no row for the code
    ├── RenderError               an accepted render did not end well
    │   ├── RenderFailedError · RenderExpiredError · RenderNotFoundError
    │   └── RenderTimedOutError · LostContactError · SlotTimedOutError
    ├── ChangedRequestError       a retry asks for another video than the one that is paid for
    ├── UnknownSubmitError        the API might have accepted a submit, and might bill it
    ├── LandingError              the video could not be saved; the render is kept
    │   ├── NoLinkError (a RenderError, too) · LinkRefusedError · DamagedMediaError · TargetTakenError
    │   └── MediaHostRefusedError · MissingLabelError
    ├── DifferentVideoError       the saved video differs from its request, and on_difference is "fail"
    └── LedgerError               the record of what was paid cannot be read or written

Every error has ``retryable``: whether the next try of the task can succeed without a change. An ``ApiError`` has the API's
``code``, ``message``, ``request_id`` and ``http_status``. ``docs/errors.md`` says what each code means and what to do.
"""

from __future__ import annotations

from airflow_provider_jimeng.core.errors import (
    ApiError,
    AuthenticationError,
    ChangedRequestError,
    ConcurrencyLimitedError,
    DamagedMediaError,
    DifferentVideoError,
    InputModeratedError,
    InputRejectedError,
    JimengError,
    LandingError,
    LedgerError,
    LinkRefusedError,
    LostContactError,
    MediaHostRefusedError,
    MissingConnectionError,
    MissingLabelError,
    NoLinkError,
    NoReplyError,
    NotSentError,
    OutputModeratedError,
    ParameterError,
    PermissionDeniedError,
    RateLimitedError,
    RedirectedError,
    RenderError,
    RenderExpiredError,
    RenderFailedError,
    RenderNotFoundError,
    RenderTimedOutError,
    ServerError,
    SettingsError,
    SlotTimedOutError,
    TargetTakenError,
    TransportError,
    UnknownCodeError,
    UnknownSubmitError,
    UnreadableImageError,
    UnreadableReplyError,
    UnreadableRowsError,
)

__all__ = [
    "ApiError",
    "AuthenticationError",
    "ChangedRequestError",
    "ConcurrencyLimitedError",
    "DamagedMediaError",
    "DifferentVideoError",
    "InputModeratedError",
    "InputRejectedError",
    "JimengError",
    "LandingError",
    "LedgerError",
    "LinkRefusedError",
    "LostContactError",
    "MediaHostRefusedError",
    "MissingConnectionError",
    "MissingLabelError",
    "NoLinkError",
    "NoReplyError",
    "NotSentError",
    "OutputModeratedError",
    "ParameterError",
    "PermissionDeniedError",
    "RateLimitedError",
    "RedirectedError",
    "RenderError",
    "RenderExpiredError",
    "RenderFailedError",
    "RenderNotFoundError",
    "RenderTimedOutError",
    "ServerError",
    "SettingsError",
    "SlotTimedOutError",
    "TargetTakenError",
    "TransportError",
    "UnknownCodeError",
    "UnknownSubmitError",
    "UnreadableImageError",
    "UnreadableReplyError",
    "UnreadableRowsError",
]
