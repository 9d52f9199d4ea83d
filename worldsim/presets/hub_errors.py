"""Errors of the Hugging Face Hub client as worldsim's own, each with a hint."""

from __future__ import annotations

import errno
import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub import constants
from huggingface_hub.errors import (
    FileMetadataError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import logging as hub_logging
from huggingface_hub.utils.tqdm import disable_progress_bars

from worldsim.core.errors import HubError, PresetError, PresetNotFoundError, StorageError, WorldsimError
from worldsim.presets.layout import HubRef

LOGIN_HINT = "hf auth login (or set HF_TOKEN)"
_TransportError: type[Exception] = HfHubHTTPError.__bases__[0]
"""Base class of the HTTP library that this version of the client uses."""
_DISK_FULL_ERRNOS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_PERMISSION_ERRNOS = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR)


def page_url(repo: str) -> str:
    """The repository's web page; a dataset's `repo` starts with `datasets/`."""
    return f"{constants.ENDPOINT}/{repo}"


@contextmanager
def translate_errors(ref: HubRef | None) -> Iterator[None]:
    """Turns what the Hub client raises into a `WorldsimError`; `ref` is the repository that was asked for.

    Side effects: without a terminal, the client's progress bars are turned off; its own log is silenced meanwhile.
    """
    if not sys.stderr.isatty():
        disable_progress_bars()
    verbosity = hub_logging.get_verbosity()
    hub_logging.set_verbosity(logging.ERROR)
    try:
        yield
    except (_TransportError, OSError, HFValidationError) as error:
        raise _translate(error, ref) from None
    finally:
        hub_logging.set_verbosity(verbosity)


def _translate(error: Exception, ref: HubRef | None) -> WorldsimError:
    while isinstance(error, LocalEntryNotFoundError) and isinstance(error.__cause__, Exception):
        error = error.__cause__  # "not in the cache" wraps the reason why the Hub was not reached
    repo, where = (ref.repo, page_url(ref.repo)) if ref else ("the Hub", constants.ENDPOINT)
    if isinstance(error, GatedRepoError):
        return HubError(f"{repo} on the Hub is gated", hint=f"accept its terms at {where}, then run: {LOGIN_HINT}")
    if isinstance(error, RepositoryNotFoundError):
        return PresetNotFoundError(
            f"no folder and no Hub repository named {repo}",
            hint=f"check the spelling; for a private repository run: {LOGIN_HINT}",
        )
    if isinstance(error, RevisionNotFoundError):
        return PresetNotFoundError(
            f"{repo} on the Hub has no revision {ref.revision if ref else ''}", hint=f"see {where}/commits/main"
        )
    if isinstance(error, RemoteEntryNotFoundError):
        return PresetError(f"a listed file of {repo} no longer exists", hint="run the command again")
    if isinstance(error, HfHubHTTPError):
        return _http_error(error, repo, where)
    if isinstance(error, (OfflineModeIsEnabled, LocalEntryNotFoundError)):
        if ref is None:
            return PresetNotFoundError(
                "searching the Hub needs the network, which is disabled (--offline or HF_HUB_OFFLINE)",
                hint="`worldsim presets list` lists the presets on this machine",
            )
        return PresetNotFoundError(
            f"{ref} is not in the cache, and network access is off (--offline or HF_HUB_OFFLINE)",
            hint="download it once while online; for a local folder write ./folder",
        )
    if isinstance(error, HFValidationError):
        return PresetNotFoundError(f"{ref} is not a valid repository name", hint="expected user/repo[@revision]")
    if isinstance(error, FileMetadataError):
        return HubError(f"{constants.ENDPOINT} does not speak the Hub protocol", hint="check HF_ENDPOINT and any proxy")
    number = getattr(error, "errno", None)
    if number in _DISK_FULL_ERRNOS or number in _PERMISSION_ERRNOS:
        why = "the disk is full" if number in _DISK_FULL_ERRNOS else "permission denied"
        return StorageError(
            f"cannot write to the Hub cache {constants.HF_HUB_CACHE}: {why}",
            hint="free space or fix its permissions; HF_HOME moves the cache",
        )
    return _connection_error(error)


def _http_error(error: HfHubHTTPError, repo: str, where: str) -> HubError:
    status = error.response.status_code
    if status == 401:
        return HubError("the Hub rejected your token (401)", hint=f"log in again: {LOGIN_HINT}")
    if status == 403:
        return HubError(
            f"your token has no permission for this on {repo} (403)",
            hint=f"check {where} and the token's permissions; {LOGIN_HINT}",
        )
    if status == 429:
        wait = error.response.headers.get("Retry-After", "")
        again = f"try again in {wait} s" if re.fullmatch(r"\d{1,6}", wait) else "try again in a few minutes"
        return HubError("too many requests to the Hub (429)", hint=f"{again}; log in for higher limits: {LOGIN_HINT}")
    if status >= 500:
        return HubError(f"{constants.ENDPOINT} has a server error ({status})", hint="try again later")
    return HubError(f"{constants.ENDPOINT} answered {status} for {repo}", hint="update worldsim; check HF_ENDPOINT")


def _connection_error(error: Exception) -> HubError:
    kind = type(error).__name__
    if "Timeout" in kind:
        return HubError(f"{constants.ENDPOINT} did not answer in time", hint="try again; HF_HUB_ETAG_TIMEOUT=60")
    if kind.startswith("Connect"):
        return HubError(
            f"{constants.ENDPOINT} cannot be reached", hint="check the network; HF_ENDPOINT=URL selects a mirror"
        )
    return HubError(
        f"the connection to {constants.ENDPOINT} was lost ({kind})",
        hint="run the command again; complete files are kept",
    )
