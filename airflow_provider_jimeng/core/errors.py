# SPDX-License-Identifier: Apache-2.0
"""The error classes. Each says what follows from it: ``retryable``, ``retry_delay`` and ``billed``.

:mod:`airflow_provider_jimeng.exceptions` shows them as a tree.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_jimeng.core.outcomes import Billed, Outcome
from airflow_provider_jimeng.core.texts import fit, shorten

if TYPE_CHECKING:
    from airflow_provider_jimeng.core.codes import CodeEntry
    from airflow_provider_jimeng.core.render import RenderEvent

_LONGEST_NAME = 200


class JimengError(Exception):
    """Base class of every error of this package.

    ``retryable``: the same call, unchanged, can succeed later. An instance can override its class.
    ``retry_delay``: seconds until a retry makes sense; ``None`` leaves the delay to the task.
    ``billed``: whether the vendor charges for the submit or the render that the error is about.

    A message has at most 3,800 characters. Links in it have no query.
    """

    retryable: bool = False
    retry_delay: ClassVar[float | None] = None
    billed: ClassVar[Billed] = Billed.NO

    def __init__(self, *args: Any) -> None:
        super().__init__(*(fit(arg) if isinstance(arg, str) else arg for arg in args))

    def __str__(self) -> str:
        return fit(self._text())

    def _text(self) -> str:
        return super().__str__()

    def __reduce__(self) -> tuple[Any, ...]:
        """Make every class picklable, because constructors take different arguments."""
        return _restore, (type(self), self.args), self.__dict__


def _restore(error_class: type[JimengError], args: tuple[Any, ...]) -> JimengError:
    return error_class.__new__(error_class, *args)


class ParameterError(JimengError, ValueError):
    """An argument is refused before any request. The message names the argument, the limit and the remedy."""

    def __init__(self, argument: str, message: str) -> None:
        self.argument = shorten(fit(argument), _LONGEST_NAME)
        self.reason = fit(message)
        super().__init__(f"{self.argument}: {self.reason}")


class UnreadableImageError(ParameterError):
    """The store of an image does not answer in time. Nothing was sent or paid. A retry can read the image."""

    retryable = True


class UnreadableRowsError(ParameterError):
    """The store of a plan's rows does not answer. Nothing was sent or paid. A retry can read the rows."""

    retryable = True


class SettingsError(JimengError, ValueError):
    """The Airflow connection is unusable. The message names the field and the remedy, never a secret."""


class MissingConnectionError(SettingsError):
    """The Airflow connection does not exist. Nothing was sent or paid. Add the connection and clear the task."""


class TransportError(JimengError):
    """There is no readable answer. The API might have accepted a submit, unless the subclass says otherwise."""

    retryable = True
    retry_delay = 30.0
    billed = Billed.UNKNOWN


class NotSentError(TransportError):
    """The request certainly never reached the API. It can be sent again, even if it is a submit."""

    billed = Billed.NO


class NoReplyError(TransportError):
    """The request was sent and no answer came. The API might have accepted a submit, and might bill it."""


class UnreadableReplyError(TransportError):
    """The answer is not the API's JSON. It is, for example, a proxy's HTML page, half a document or an empty body."""

    def __init__(self, message: str, *, http_status: int) -> None:
        self.http_status = http_status
        super().__init__(message)


class RedirectedError(UnreadableReplyError):
    """The endpoint redirects. The client does not follow it, so nothing was accepted. Change the connection's host."""

    retryable = False
    billed = Billed.NO


class ApiError(JimengError):
    """The API answered with an error code.

    ``code`` is the vendor's number, or the name that a gateway uses, as text. The vendor's support asks for
    ``request_id``. ``entry`` is the row of the code table, if there is one.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        request_id: str | None = None,
        http_status: int | None = None,
        entry: CodeEntry | None = None,
    ) -> None:
        self.code = code
        self.message = fit(message)
        self.request_id = request_id
        self.http_status = http_status
        self.entry = entry
        super().__init__(message)

    @property
    def said(self) -> str:
        """The answer of the API: message, code, HTTP status and request id."""
        parts = [f"code {self.code or 'none'}"]
        if self.http_status is not None:
            parts.append(f"HTTP {self.http_status}")
        if self.request_id:
            parts.append(f"request id {self.request_id}")
        return fit(f"{self.message or 'no message'} ({', '.join(parts)})")

    def _text(self) -> str:
        # Airflow does not wrap the lines of a log, so the meaning and the advice come first.
        return (
            f"{self.entry.meaning} {self.entry.advice} The API said: {self.said}" if self.entry else self.said
        )


class InputRejectedError(ApiError):
    """The API cannot use an argument or an image. Nothing is billed. The same request fails again."""


class InputModeratedError(ApiError):
    """Moderation refused the prompt or an input image. Nothing is billed. Change the input."""


class OutputModeratedError(ApiError):
    """Moderation refused the finished picture. Nothing is billed. A new submit can succeed."""

    retryable = True


class RateLimitedError(ApiError):
    """There were too many requests per second. The request was certainly not accepted. Send it again later."""

    retryable = True
    retry_delay = 30.0


class ConcurrencyLimitedError(ApiError):
    """The account has reached its concurrency limit for this model. The request was not accepted. Wait for a slot."""

    retryable = True
    retry_delay = 60.0


class AuthenticationError(ApiError):
    """The API refused the key, the signature, the session token or the clock. Nothing was accepted."""


class PermissionDeniedError(ApiError):
    """The account or its policy does not allow this capability, or the account is in arrears. Nothing was accepted."""


class ServerError(ApiError):
    """The API had an internal error. A query can be sent again. The API might have accepted a submit."""

    retryable = True
    billed = Billed.UNKNOWN


class UnknownCodeError(ApiError):
    """The code table has no row for the code. It ends a render only if it is repeated and its number is that of a failure."""


class RenderError(JimengError):
    """An accepted render did not end well. ``event`` says how. The message says what to do next."""

    outcome: ClassVar[Outcome | None] = None
    billed = Billed.UNKNOWN

    def __init__(
        self, message: str, *, event: RenderEvent | None = None, retryable: bool | None = None
    ) -> None:
        self.event = event
        if retryable is not None:
            self.retryable = retryable
        super().__init__(message)


class RenderFailedError(RenderError):
    """The API ended the render with a failure code. Nothing is billed. A retry starts a new render if the code allows it."""

    outcome = Outcome.FAILED
    billed = outcome.ending.billed


class RenderExpiredError(RenderError):
    """The API says that the render expired. It might be billed, so a new render needs consent (``on_lost``)."""

    outcome = Outcome.EXPIRED
    billed = outcome.ending.billed


class RenderNotFoundError(RenderError):
    """The API no longer knows the render. It might be billed, so a new render needs consent (``on_lost``)."""

    outcome = Outcome.NOT_FOUND
    billed = outcome.ending.billed


class RenderTimedOutError(RenderError):
    """The deadline passed before the render was finished. The record is kept. A retry continues the wait."""

    outcome = Outcome.TIMED_OUT
    billed = outcome.ending.billed
    retryable = True
    retry_delay = 0.0


class LostContactError(RenderError):
    """The API refused the credentials several times. The render can still finish. A Clear continues the wait."""

    outcome = Outcome.LOST_CONTACT
    billed = outcome.ending.billed


class SlotTimedOutError(RenderError):
    """No render slot came free within ``max_wait_for_slot``. Nothing was submitted or billed."""

    outcome = Outcome.SLOT_TIMED_OUT
    billed = outcome.ending.billed


class ChangedRequestError(JimengError):
    """A retry would submit another request than the one that is already paid for. Nothing was submitted."""


class UnknownSubmitError(JimengError):
    """The outcome of a submit is unknown. A render might be running, and might be billed, under an unknown id.

    ``retryable``: the author allows another submit (``on_unknown_submit="resubmit"``).
    """

    billed = Billed.UNKNOWN

    def __init__(self, message: str, *, retryable: bool = False) -> None:
        self.retryable = retryable
        super().__init__(message)


class LandingError(JimengError):
    """The video could not be saved. The render stays recorded. A retry saves the video without paying again."""

    retryable = True
    retry_delay = 30.0
    billed = Billed.YES


class NoLinkError(LandingError, RenderError):
    """The API does not give a link to the video. The render might be billed. A retry asks for the link again, free."""

    outcome = Outcome.NO_LINK
    billed = outcome.ending.billed


class LinkRefusedError(LandingError):
    """The media host refused the link, for example because the link is older than one hour. A retry gets a new one."""


class DamagedMediaError(LandingError):
    """The downloaded data is not a whole MP4 file."""


class TargetTakenError(LandingError):
    """The target contains a file of another request, or is a directory. Nothing was written."""

    retryable = False


class MediaHostRefusedError(LandingError):
    """The link points to a host that the connection does not allow. Nothing was downloaded."""

    retryable = False


class MissingLabelError(LandingError):
    """``require_tagged`` is set and the video has no implicit AIGC label. Nothing was saved."""


class DifferentVideoError(JimengError):
    """The saved video differs from its request, and ``on_difference`` is ``fail``. The file is kept."""

    billed = Billed.YES


class LedgerError(JimengError):
    """The record of what was paid cannot be read or written. "Cannot read" never means "not paid"."""

    retryable = True
    retry_delay = 30.0
    billed = Billed.UNKNOWN
