"""The one error tree, drawn whole, each class documented by its consequence.

::

    JimengError
    ├── ParameterError            an argument is refused; nothing was sent or paid
    │   └── UnreadableImageError · UnreadableRowsError  a store does not answer now
    ├── SettingsError             the connection is unusable; nothing was sent or paid
    │   └── MissingConnectionError  there is no such connection
    ├── TransportError            no readable answer
    │   ├── NotSentError          the request certainly never reached the API
    │   ├── NoReplyError          the request went out, the answer never came
    │   └── UnreadableReplyError  something answered that is not the API's JSON
    │       └── RedirectedError   the endpoint sends callers elsewhere; nothing was accepted
    ├── ApiError                  the API answered with a code
    │   ├── InputRejectedError    an argument or image the API cannot use
    │   ├── InputModeratedError   the prompt or an input image was refused by moderation
    │   ├── OutputModeratedError  the finished picture was refused by moderation; another seed may pass
    │   ├── RateLimitedError      too many requests a second
    │   ├── ConcurrencyLimitedError  too many renders at once: no slot is free
    │   ├── AuthenticationError   the key, the signature or the clock is wrong
    │   ├── PermissionDeniedError the account may not use this capability
    │   ├── ServerError           the API broke; what became of the request is unknown
    │   └── UnknownCodeError      a code that no table lists
    ├── RenderError               a render that was accepted did not end well
    │   ├── RenderFailedError · RenderExpiredError · RenderNotFoundError
    │   └── RenderTimedOutError · LostContactError · SlotTimedOutError
    ├── ChangedRequestError       a retry asks for something else than what is paid already
    ├── UnknownSubmitError        a submit that may have been accepted, and billed, under an unknown id
    ├── LandingError              the video could not be brought home; the render is kept
    │   ├── NoLinkError (a RenderError, too) · LinkRefusedError · DamagedMediaError · TargetTakenError
    │   └── MediaHostRefusedError · MissingLabelError
    └── LedgerError               the record of what was paid cannot be read or written
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_jimeng.core.texts import fit, shorten

if TYPE_CHECKING:
    from airflow_provider_jimeng.core.codes import CodeEntry
    from airflow_provider_jimeng.core.event import RenderEvent

_LONGEST_NAME = 200


class JimengError(Exception):
    """Root of every error of this package. ``retryable``: the same call, unchanged, may succeed later.

    Whatever a text quotes, it is at most 3,800 characters long and holds no query of a link.
    """

    retryable: ClassVar[bool] = False

    def __init__(self, *args: Any) -> None:
        super().__init__(*(fit(arg) if isinstance(arg, str) else arg for arg in args))

    def __str__(self) -> str:
        return fit(self._text())

    def _text(self) -> str:
        return super().__str__()

    def __reduce__(self) -> tuple[Any, ...]:
        """Survive the way between processes whatever the arguments of a class are."""
        return _restore, (type(self), self.args), self.__dict__


def _restore(error_class: type[JimengError], args: tuple[Any, ...]) -> JimengError:
    return error_class.__new__(error_class, *args)


class ParameterError(JimengError, ValueError):
    """An argument is refused before any request. The text names the argument, the limit and the remedy."""

    def __init__(self, argument: str, message: str) -> None:
        self.argument = shorten(fit(argument), _LONGEST_NAME)
        self.reason = fit(message)
        super().__init__(f"{self.argument}: {self.reason}")


class UnreadableImageError(ParameterError):
    """An image's store does not answer, or not in time. Nothing was sent or paid; a retry may read it."""

    retryable = True


class UnreadableRowsError(ParameterError):
    """The store of a plan's rows does not answer. Nothing was sent or paid; a retry may read them."""

    retryable = True


class SettingsError(JimengError, ValueError):
    """The Airflow connection is unusable. The text names the field and the remedy, never a secret."""


class MissingConnectionError(SettingsError):
    """There is no such Airflow connection. Nothing was sent or paid; add it and clear the task."""


class TransportError(JimengError):
    """No readable answer came back."""

    retryable = True


class NotSentError(TransportError):
    """The request certainly never reached the API, so it may be sent again freely, a submit too."""


class NoReplyError(TransportError):
    """The request went out and no answer came. A submit may have been accepted and may be billed."""


class UnreadableReplyError(TransportError):
    """Something answered that is not the API's JSON: a proxy's HTML page, half a document, an empty body."""

    def __init__(self, message: str, *, http_status: int) -> None:
        self.http_status = http_status
        super().__init__(message)


class RedirectedError(UnreadableReplyError):
    """The endpoint redirects. No redirect is followed, so nothing was accepted; change the connection's host."""

    retryable = False


class ApiError(JimengError):
    """The API answered with an error code.

    ``code`` is the vendor's number, or the name a gateway uses, as text. ``request_id`` is what the vendor's
    support asks for. ``entry`` is the row of the code table, if the code is listed. ``new_try_may_help`` overrides
    the class's ``retryable``.
    """

    new_try_may_help: bool | None = None

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
        """The API's own words: message, code, HTTP status and request id."""
        parts = [f"code {self.code or 'none'}"]
        if self.http_status is not None:
            parts.append(f"HTTP {self.http_status}")
        if self.request_id:
            parts.append(f"request id {self.request_id}")
        return fit(f"{self.message or 'no message'} ({', '.join(parts)})")

    def _text(self) -> str:
        return f"{self.said}. {self.entry.meaning} {self.entry.advice}" if self.entry else self.said


class InputRejectedError(ApiError):
    """The API cannot use an argument or an image. Not billed; the same request fails again."""


class InputModeratedError(ApiError):
    """The prompt or an input image was refused by moderation. Not billed; change the input."""


class OutputModeratedError(ApiError):
    """The finished picture was refused by moderation. Not billed; a new submit may pass."""

    retryable = True


class RateLimitedError(ApiError):
    """Too many requests a second. Certainly not accepted; slow down and send it again."""

    retryable = True


class ConcurrencyLimitedError(ApiError):
    """The account already runs as many renders of this model as it may. Not accepted; wait for a slot."""

    retryable = True


class AuthenticationError(ApiError):
    """The key, the signature, the session token or the clock was refused. Nothing was accepted."""


class PermissionDeniedError(ApiError):
    """The account or its policy does not allow this capability, or is in arrears. Nothing was accepted."""


class ServerError(ApiError):
    """The API failed inside. A query may be sent again; a submit may have been accepted."""

    retryable = True


class UnknownCodeError(ApiError):
    """A code that no table lists. Only repeated, and only by a number of those that fail renders, it ends one."""


class RenderError(JimengError):
    """An accepted render did not end well. ``event`` tells how; the text tells what to do next.

    ``new_try_may_help`` overrides the class's ``retryable`` where the code, or a policy of the author, decides.
    """

    def __init__(
        self, message: str, *, event: RenderEvent | None = None, new_try_may_help: bool | None = None
    ) -> None:
        self.event = event
        self.new_try_may_help = new_try_may_help
        super().__init__(message)


class RenderFailedError(RenderError):
    """The API ended the render with a failure code. Not billed. A retry starts a fresh render."""


class RenderExpiredError(RenderError):
    """The API says the render lapsed. It may have been billed; a new one needs consent (``on_lost``)."""


class RenderNotFoundError(RenderError):
    """The API no longer knows the render. It may have been billed; a new one needs consent (``on_lost``)."""


class RenderTimedOutError(RenderError):
    """Our deadline passed before the render was finished. The record is kept; a retry takes up the wait."""

    retryable = True


class LostContactError(RenderError):
    """The API refused our credentials for good. The render may still finish; a retry takes up the wait."""


class SlotTimedOutError(RenderError):
    """No render slot came free within ``max_wait_for_slot``. Nothing was submitted or billed."""


class ChangedRequestError(JimengError):
    """A retry would submit another request than the one that is paid for already. Nothing was submitted."""


class UnknownSubmitError(JimengError):
    """A submit whose outcome nobody can know. A render may be running, and billed, under an unknown id.

    ``new_try_may_help``: the author allowed another submit (``on_unknown_submit="resubmit"``).
    """

    def __init__(self, message: str, *, new_try_may_help: bool = False) -> None:
        self.new_try_may_help = new_try_may_help
        super().__init__(message)


class LandingError(JimengError):
    """The video could not be brought home. The render stays recorded; a retry lands it without paying again."""

    retryable = True


class NoLinkError(LandingError, RenderError):
    """The API gives no link to the video, or not yet. It may be billed and stays recorded; a retry asks again, free."""


class LinkRefusedError(LandingError):
    """The media host refused the link, as it does once a link is older than its hour. Ask for a fresh one."""


class DamagedMediaError(LandingError):
    """What arrived is not a whole MP4 file."""


class TargetTakenError(LandingError):
    """The target holds a file of another request, or is a directory. Nothing was written."""

    retryable = False


class MediaHostRefusedError(LandingError):
    """The link points at a host that the connection does not allow. Nothing was fetched."""

    retryable = False


class MissingLabelError(LandingError):
    """``require_tagged`` was set and the API did not write the implicit AIGC label. Nothing was landed."""


class LedgerError(JimengError):
    """The record of what was paid cannot be read or written. "Cannot read" is never "not paid"."""

    retryable = True
