"""Presets on the Hugging Face Hub: found, fetched, removed, pushed. Torch-free; the only network access of worldsim.

Owns: what is fetched and pushed (an allow-list, sizes, hashes), the pin to a commit, and the words for everything that
can go wrong on the way. Does not own: transport, tokens and cache, which are the Hub's own client's (it honours
HF_HOME, HF_TOKEN, HF_ENDPOINT and HF_HUB_OFFLINE); what is in the files (`presets.store`).
"""

from __future__ import annotations

import errno
import hashlib
import logging
import re
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationCopy,
    CommitOperationDelete,
    HfApi,
    constants,
    get_token,
    hf_hub_download,
    scan_cache_dir,
    snapshot_download,
)
from huggingface_hub.errors import (
    CacheNotFound,
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
from huggingface_hub.file_download import repo_folder_name
from huggingface_hub.utils import logging as hub_logging
from huggingface_hub.utils.tqdm import disable_progress_bars

from worldsim.core.config import MAX_CONFIG_BYTES, short_repr
from worldsim.core.errors import HubError, PresetError, PresetNotFoundError, StorageError, WorldsimError
from worldsim.presets.card import SAMPLE_CLIP, SAMPLE_SHEET
from worldsim.presets.resolve import CARD_FILE, CONFIG_FILE, DOWNLOADED_FILES, START_FOLDER, WEIGHTS_FILE, HubRef
from worldsim.presets.safe_io import (
    MAX_START_BYTES,
    MAX_STARTS,
    MAX_STARTS_BYTES,
    MAX_WEIGHTS_BYTES,
    damaged_error,
    sha256,
)

logger = logging.getLogger(__name__)

LIBRARY = "worldsim"
"""`library_name` in a card: how the Hub knows a preset."""
MAX_CARD_BYTES = 2**20
DATA_FILES = ("*.json", "*.parquet", "*.mp4")
"""All that is ever fetched of a data set: no code, no loading script."""
_DATA_FOLDERS = ("data/", "meta/", "videos/")

_TransportError: type[Exception] = HfHubHTTPError.__bases__[0]
"""The base class of whatever HTTP library this version of the client was built with."""
_START = re.compile(rf"{START_FOLDER}/[\w-][\w.-]*\.safetensors", re.ASCII)
_MAX_BYTES = {CONFIG_FILE: MAX_CONFIG_BYTES, WEIGHTS_FILE: MAX_WEIGHTS_BYTES, CARD_FILE: MAX_CARD_BYTES}
_DISK_FULL_ERRNOS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_PERMISSION_ERRNOS = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR)
_LOGIN_HINT = "hf auth login (or set HF_TOKEN)"


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """A file of a repository. Large ones have a sha256, the others the hash that git gives them."""

    name: str
    num_bytes: int
    git_sha1: str | None
    sha256: str | None


@dataclass(frozen=True, kw_only=True)
class PresetListing:
    """What of a repository is a preset's, at one commit."""

    ref: HubRef
    commit: str
    files: tuple[RemoteFile, ...]

    @property
    def num_bytes(self) -> int:
        return sum(file.num_bytes for file in self.files)


@dataclass(frozen=True, kw_only=True)
class CachedPreset:
    """A revision in the Hub's cache on this machine."""

    repo: str
    commit: str
    folder: Path
    num_bytes: int


@dataclass(frozen=True, kw_only=True)
class UploadPlan:
    """What a push would change, and where. Nothing of it has happened yet."""

    repo: str
    is_new: bool
    as_pull_request: bool
    contents: Mapping[str, Path | bytes]
    """Name in the repository to a file on this disk, or to what is written there."""
    deleted: tuple[str, ...]
    """What an earlier push brought and this one no longer has."""
    repo_type: Literal["model", "dataset"] = "model"
    tag: str | None = None
    """Of the new commit; the tag moves when it is there already."""

    @property
    def sizes(self) -> dict[str, int]:
        return {n: len(c) if isinstance(c, bytes) else c.stat().st_size for n, c in self.contents.items()}

    @property
    def page_url(self) -> str:
        return page_url(self.repo if self.repo_type == "model" else f"datasets/{self.repo}")

    @property
    def text(self) -> str:
        """All of it, for the person who pushes."""
        kind = "the main branch of"
        if self.as_pull_request or self.is_new:
            kind = "a pull request to" if self.as_pull_request else "a new repository,"
        width = max(map(len, (*self.contents, *self.deleted)))
        rows = [f"  {name:<{width}}  {num_bytes / 1e6:.3f} MB" for name, num_bytes in self.sizes.items()]
        rows += [f"  {name:<{width}}  deleted there" for name in self.deleted]
        total = f"{len(self.sizes)} files, {sum(self.sizes.values()) / 1e6:.1f} MB"
        return "\n".join([f"to {kind} {self.page_url}", *rows, total + (f", tag {self.tag}" if self.tag else "")])


def page_url(repo: str) -> str:
    """Where a person looks at it."""
    return f"{constants.ENDPOINT}/{repo}"


def is_offline() -> bool:
    """Whether the network is forbidden."""
    return bool(constants.HF_HUB_OFFLINE)


def blobs_folder(ref: HubRef) -> Path:
    """Where the files of a repository come to lie, those that are on their way too."""
    cache = Path(constants.HF_HUB_CACHE).expanduser()
    return cache / repo_folder_name(repo_id=ref.repo, repo_type="model") / "blobs"


def cached_folder(ref: HubRef) -> Path | None:
    """Of a preset that was fetched in full before. Never the network."""
    try:
        with _translate_errors(ref):
            folder = snapshot_download(
                ref.repo, revision=ref.revision, allow_patterns=list(DOWNLOADED_FILES), local_files_only=True
            )
    except PresetNotFoundError:
        return None
    needed = (CONFIG_FILE, WEIGHTS_FILE)
    return Path(folder) if all((Path(folder) / name).exists() for name in needed) else None


def list_files(ref: HubRef) -> PresetListing:
    """Asks the Hub for the commit behind `ref` and for its files.

    Raises: PresetNotFoundError, HubError; PresetError for a repository that is no preset, or too large a one.
    """
    with _translate_errors(ref):
        info = HfApi().model_info(
            ref.repo, revision=ref.revision, files_metadata=True, timeout=constants.HF_HUB_ETAG_TIMEOUT
        )
    commit = info.sha or ""
    if not re.fullmatch("[0-9a-f]{40}", commit):  # it becomes a path in the cache
        raise HubError(f"{constants.ENDPOINT} gives {short_repr(commit)} as a commit", hint="check HF_ENDPOINT")
    siblings = {sibling.rfilename: sibling for sibling in info.siblings or ()}
    names = sorted(name for name in siblings if name in _MAX_BYTES or _START.fullmatch(name))
    _check_is_preset(ref, list(siblings))
    files = tuple(
        RemoteFile(
            name=name,
            num_bytes=siblings[name].size or 0,
            git_sha1=siblings[name].blob_id,
            sha256=siblings[name].lfs.sha256 if siblings[name].lfs else None,  # type: ignore[union-attr]
        )
        for name in names
    )
    _check_sizes(ref, files)
    return PresetListing(ref=ref, commit=commit, files=files)


def download(listing: PresetListing) -> Path:
    """The folder in the Hub's cache, complete, every file's hash as the Hub gave it.

    What is there already is not fetched again. Says the sizes first.
    Raises: HubError, StorageError, PresetError for a file that arrived damaged (and is removed).
    """
    ref, cache = listing.ref, Path(constants.HF_HUB_CACHE).expanduser()
    home = cache / repo_folder_name(repo_id=ref.repo, repo_type="model")
    snapshot = home / "snapshots" / listing.commit
    missing_bytes = sum(file.num_bytes for file in listing.files if not (snapshot / file.name).exists())
    if missing_bytes:
        logger.info(
            f"fetching {ref} at {listing.commit[:12]} from {constants.ENDPOINT}: {len(listing.files)} files, "
            f"{listing.num_bytes / 1e6:.1f} MB ({missing_bytes / 1e6:.1f} MB not here yet)"
        )
        _check_space(cache, missing_bytes)
    with _translate_errors(ref):
        folder = snapshot_download(
            ref.repo, revision=listing.commit, allow_patterns=[file.name for file in listing.files]
        )
    _check_contents(Path(folder), listing.files)
    with _translate_errors(ref):  # last: until here, the name leads to what it led to before
        name = home / "refs" / (ref.revision or "main")
        if ref.revision != listing.commit:
            name.parent.mkdir(parents=True, exist_ok=True)
            name.write_text(listing.commit, encoding="utf-8")
    return Path(folder)


def download_dataset(ref: HubRef) -> Path:
    """The newest commit of a data set of recorded sessions, in the Hub's cache; offline, the one that is there.

    Raises: PresetNotFoundError, HubError, StorageError.
    """
    logger.info(f"data set {ref} from {constants.ENDPOINT}: fetching what is not here yet")
    with _translate_errors(ref):
        return Path(
            snapshot_download(ref.repo, repo_type="dataset", revision=ref.revision, allow_patterns=list(DATA_FILES))
        )


def download_config(listing: PresetListing) -> Path:
    """Only config.json: what a preset is, before its weights are fetched."""
    with _translate_errors(listing.ref):
        path = Path(hf_hub_download(listing.ref.repo, CONFIG_FILE, revision=listing.commit))
    _check_contents(path.parent, [file for file in listing.files if file.name == CONFIG_FILE])
    return path


def cached_presets() -> list[CachedPreset]:
    """Every repository in the cache that has the files of a preset, complete or not."""
    try:
        info = scan_cache_dir()
    except CacheNotFound:
        return []
    found = [
        CachedPreset(
            repo=repo.repo_id,
            commit=revision.commit_hash,
            folder=revision.snapshot_path,
            num_bytes=revision.size_on_disk,
        )
        for repo in info.repos
        if repo.repo_type == "model"
        for revision in repo.revisions
        if {CONFIG_FILE, WEIGHTS_FILE} <= {file.file_name for file in revision.files}
    ]
    return sorted(found, key=lambda preset: (preset.repo, preset.commit))


def remove(ref: HubRef) -> tuple[list[str], int]:
    """Takes a repository, or one revision of it, out of the cache. Returns: the commits, and the bytes freed.

    Raises: PresetNotFoundError when it is not in the cache.
    """
    try:
        info = scan_cache_dir()
        repo = next((r for r in info.repos if (r.repo_type, r.repo_id) == ("model", ref.repo)), None)
    except CacheNotFound:
        repo = None
    commits = [
        revision.commit_hash
        for revision in (repo.revisions if repo else ())
        if ref.revision is None or ref.revision in (revision.commit_hash, *revision.refs)
    ]
    if not commits:
        raise PresetNotFoundError(f"{ref} is not in the Hub's cache", hint="worldsim presets list says what is")
    strategy = info.delete_revisions(*commits)
    strategy.execute()
    return sorted(commits), strategy.expected_freed_size


def search(query: str | None, limit: int) -> list[dict[str, Any]]:
    """Repositories on the Hub whose card says that they are presets, most downloaded first."""
    with _translate_errors(None):
        found = HfApi().list_models(filter=LIBRARY, search=query, limit=limit, sort="downloads")
        return [
            {
                "ref": info.id,
                "downloads": info.downloads or 0,
                "likes": info.likes or 0,
                "private": bool(info.private),
                "updated": info.last_modified.date().isoformat() if info.last_modified else None,
            }
            for info in found
        ]


def check_can_push(*, needs_token: bool) -> None:
    """Raises: HubError when the network is forbidden, or when a token is needed and there is none."""
    if constants.HF_HUB_OFFLINE:
        raise HubError(
            "pushing asks the Hub, which is forbidden (--offline, or HF_HUB_OFFLINE is set)",
            hint="leave it out; what is on this machine can be checked without the network",
        )
    if needs_token and get_token() is None:
        raise HubError("pushing needs a token, and there is none", hint=_LOGIN_HINT)


def plan_upload(folder: Path, card: str, sample: Mapping[str, Path], repo: str, *, as_pull_request: bool) -> UploadPlan:
    """Looks at the repository, if there is one, and changes nothing. `sample`: name there to file here.

    Raises: HubError; PresetNotFoundError for a pull request to a repository that is not there.
    """
    starts = sorted((folder / START_FOLDER).glob("*.safetensors"))
    contents: dict[str, Path | bytes] = {CARD_FILE: card.encode()}
    for path in (folder / CONFIG_FILE, folder / WEIGHTS_FILE, *starts):
        contents[path.relative_to(folder).as_posix()] = path
    contents |= sample
    ref, is_new = HubRef(repo=repo), False
    there: Sequence[str] = ()
    try:
        with _translate_errors(ref):
            info = HfApi().model_info(repo, timeout=constants.HF_HUB_ETAG_TIMEOUT)
            there = [sibling.rfilename for sibling in info.siblings or ()]
    except PresetNotFoundError:
        if as_pull_request:
            raise
        is_new = True
    ours = {name for name in there if _START.fullmatch(name) or name in (SAMPLE_CLIP, SAMPLE_SHEET)}
    deleted = tuple(sorted(ours - contents.keys()))
    return UploadPlan(repo=repo, is_new=is_new, as_pull_request=as_pull_request, contents=contents, deleted=deleted)


def plan_data_upload(contents: Mapping[str, Path | bytes], repo: str, *, tag: str) -> UploadPlan:
    """As `plan_upload`, of a data set: `contents` take the place of all recordings that are there.

    A card that is there stays as it is. Raises: HubError.
    """
    is_new, there = False, []
    try:
        with _translate_errors(HubRef(repo=repo)):
            info = HfApi().dataset_info(repo, timeout=constants.HF_HUB_ETAG_TIMEOUT)
            there = [sibling.rfilename for sibling in info.siblings or ()]
    except PresetNotFoundError:
        is_new = True
    return UploadPlan(
        repo=repo,
        is_new=is_new,
        as_pull_request=False,
        contents={name: content for name, content in contents.items() if name != CARD_FILE or name not in there},
        deleted=tuple(sorted(name for name in there if name.startswith(_DATA_FOLDERS) and name not in contents)),
        repo_type="dataset",
        tag=tag,
    )


def upload(plan: UploadPlan, *, message: str, private: bool = False) -> dict[str, str | None]:
    """One commit, or one pull request, with everything in `plan`. Returns: commit, its page, the pull request's page.

    Raises: HubError, PresetNotFoundError. Side effects: a repository that is new is made first.
    """
    operations: list[CommitOperationAdd | CommitOperationCopy | CommitOperationDelete] = [
        *(CommitOperationAdd(path_in_repo=name, path_or_fileobj=content) for name, content in plan.contents.items()),
        *(CommitOperationDelete(path_in_repo=name) for name in plan.deleted),
    ]
    with _translate_errors(HubRef(repo=plan.repo)):
        api = HfApi()
        if plan.is_new:
            api.create_repo(plan.repo, private=private, exist_ok=True, repo_type=plan.repo_type)
        info = api.create_commit(
            plan.repo,
            operations,
            commit_message=message,
            create_pr=plan.as_pull_request,
            repo_type=plan.repo_type,
        )
        if plan.tag is not None:
            with suppress(RevisionNotFoundError):  # the first push has none to take away
                api.delete_tag(plan.repo, tag=plan.tag, repo_type=plan.repo_type)
            api.create_tag(plan.repo, tag=plan.tag, revision=info.oid, repo_type=plan.repo_type)
    return {"commit": info.oid, "commit_url": info.commit_url, "pull_request_url": info.pr_url}


def _check_is_preset(ref: HubRef, names: Sequence[str]) -> None:
    for needed in (CONFIG_FILE, WEIGHTS_FILE):
        if needed not in names:
            raise PresetError(
                f"{ref} on the Hub is no preset: it has no {needed}", hint="worldsim presets search lists presets"
            )
    if not any(_START.fullmatch(name) for name in names):
        raise PresetError(f"{ref} on the Hub is no preset: it has no start", hint="worldsim presets search")


def _check_sizes(ref: HubRef, files: Sequence[RemoteFile]) -> None:
    starts = [file for file in files if file.name not in _MAX_BYTES]
    for file in files:
        most = _MAX_BYTES.get(file.name, MAX_START_BYTES)
        if file.num_bytes > most:
            raise PresetError(
                f"{file.name} of {ref} has {file.num_bytes} bytes", hint=f"nothing was fetched; at most {most} are read"
            )
    if len(starts) > MAX_STARTS or sum(start.num_bytes for start in starts) > MAX_STARTS_BYTES:
        raise PresetError(
            f"{ref} has {len(starts)} starts of {sum(start.num_bytes for start in starts)} bytes",
            hint=f"nothing was fetched; at most {MAX_STARTS} and {MAX_STARTS_BYTES} bytes",
        )


def _check_space(cache: Path, num_bytes: int) -> None:
    there = next(path for path in (cache, *cache.parents) if path.is_dir())
    free_bytes = shutil.disk_usage(there).free
    if free_bytes < num_bytes:
        raise StorageError(
            f"{num_bytes / 1e6:.1f} MB to fetch, {free_bytes / 1e6:.1f} MB free in {there}",
            hint="worldsim presets rm frees some; HF_HOME puts the cache elsewhere",
        )


def _check_contents(folder: Path, files: Sequence[RemoteFile]) -> None:
    """Against the hashes that came with the listing. All that fail are removed: they would be taken for cached."""
    errors = [error for file in files if (error := _hash_mismatch(folder / file.name, file)) is not None]
    if errors:
        raise errors[0]


def _hash_mismatch(path: Path, file: RemoteFile) -> PresetError | None:
    """Side effects: a file with another hash is gone afterwards."""
    content = b"" if file.sha256 else path.read_bytes()
    git_sha1 = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest
    expected, found = (file.sha256, sha256(path)) if file.sha256 else (file.git_sha1, git_sha1())
    if expected == found:
        return None
    path.resolve().unlink()
    path.unlink(missing_ok=True)
    return damaged_error(path, f"it arrived with the hash {found[:12]}, the Hub promised {short_repr(expected)[1:13]}")


@contextmanager
def _translate_errors(ref: HubRef | None) -> Iterator[None]:
    """What the Hub's client raises becomes one of our errors; its bars are for terminals, its log is not for people."""
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
        error = error.__cause__  # the client's way to say: not in the cache, and then this happened
    repo, where = (ref.repo, page_url(ref.repo)) if ref else ("the Hub", constants.ENDPOINT)
    if isinstance(error, GatedRepoError):
        return HubError(f"{repo} on the Hub is gated", hint=f"accept its terms at {where}, then: {_LOGIN_HINT}")
    if isinstance(error, RepositoryNotFoundError):
        return PresetNotFoundError(
            f"no folder and no repository on the Hub named {repo}",
            hint=f"check the spelling; a private one needs: {_LOGIN_HINT}",
        )
    if isinstance(error, RevisionNotFoundError):
        return PresetNotFoundError(
            f"{repo} on the Hub has no revision {ref.revision if ref else ''}", hint=f"see {where}/commits/main"
        )
    if isinstance(error, RemoteEntryNotFoundError):
        return PresetError(f"a file of {repo} that was listed is not there", hint="fetch it again")
    if isinstance(error, HfHubHTTPError):
        return _http_error(error, repo, where)
    if isinstance(error, (OfflineModeIsEnabled, LocalEntryNotFoundError)):
        return PresetNotFoundError(
            f"{ref} is not in the cache and the Hub cannot be asked (--offline, or HF_HUB_OFFLINE is set)",
            hint="go online once to fetch it; for a folder of your own write ./folder",
        )
    if isinstance(error, HFValidationError):
        return PresetNotFoundError(f"{ref} cannot be the name of a repository", hint="user/repo[@revision]")
    if isinstance(error, FileMetadataError):
        return HubError(f"{constants.ENDPOINT} does not answer as a Hub does", hint="check HF_ENDPOINT and any proxy")
    number = getattr(error, "errno", None)
    if number in _DISK_FULL_ERRNOS or number in _PERMISSION_ERRNOS:
        why = "there is no room left" if number in _DISK_FULL_ERRNOS else "it may not be written"
        return StorageError(
            f"cannot write into the Hub's cache {constants.HF_HUB_CACHE}: {why}",
            hint="free some space or mend its permissions; HF_HOME puts the cache elsewhere",
        )
    return _connection_error(error)


def _http_error(error: HfHubHTTPError, repo: str, where: str) -> HubError:
    status = error.response.status_code
    if status == 401:
        return HubError("the Hub does not accept your token (401)", hint=f"a new one: {_LOGIN_HINT}")
    if status == 403:
        return HubError(
            f"your token may not do this to {repo} (403)",
            hint=f"see {where} and the token's permissions; {_LOGIN_HINT}",
        )
    if status == 429:
        wait = error.response.headers.get("Retry-After", "")
        again = f"try again in {wait} s" if re.fullmatch(r"\d{1,6}", wait) else "try again in some minutes"
        return HubError(
            "the Hub was asked too often (429)", hint=f"{again}; who is logged in may ask more: {_LOGIN_HINT}"
        )
    if status >= 500:
        return HubError(f"{constants.ENDPOINT} has a fault of its own ({status})", hint="try again later")
    return HubError(f"{constants.ENDPOINT} answered {status} for {repo}", hint="update worldsim; check HF_ENDPOINT")


def _connection_error(error: Exception) -> HubError:
    kind = type(error).__name__
    if "Timeout" in kind:
        return HubError(f"{constants.ENDPOINT} did not answer in time", hint="try again; HF_HUB_ETAG_TIMEOUT=60 waits")
    if kind.startswith("Connect"):
        return HubError(
            f"{constants.ENDPOINT} cannot be reached", hint="check the network; HF_ENDPOINT=URL uses a mirror"
        )
    return HubError(
        f"the connection to {constants.ENDPOINT} was lost ({kind})",
        hint="the same command goes on; files that arrived in full are kept",
    )
