"""Presets on the Hugging Face Hub: search, list, download, remove, upload. Torch-free; the only network access.

Owns: what is downloaded and uploaded (an allowlist, sizes, hashes) and the pin to a commit. Does not own: transport,
tokens and cache, which belong to huggingface_hub (it honors HF_HOME, HF_TOKEN, HF_ENDPOINT and HF_HUB_OFFLINE); error
texts (`presets.hub_errors`); what the files contain (`presets.store`).
"""

from __future__ import annotations

import hashlib
import logging
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
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
from huggingface_hub.errors import CacheNotFound, RevisionNotFoundError
from huggingface_hub.file_download import repo_folder_name
from huggingface_hub.utils.tqdm import tqdm

from worldsim.core.config import MAX_CONFIG_BYTES, short_repr
from worldsim.core.errors import HubError, PresetError, PresetNotFoundError, StorageError
from worldsim.presets.card import SAMPLE_CLIP, SAMPLE_SHEET
from worldsim.presets.hub_errors import LOGIN_HINT, page_url, translate_errors
from worldsim.presets.layout import CARD_FILE, CONFIG_FILE, DOWNLOADED_FILES, START_FOLDER, WEIGHTS_FILE, HubRef
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
"""`library_name` in a model card, which identifies presets on the Hub."""
MAX_CARD_BYTES = 2**20
REPORT_PERCENT = 5
"""`fetch` reports progress in steps of this size."""
DATA_FILES = ("*.json", "*.parquet", "*.mp4")
"""The only files downloaded from a dataset: no code, no loading script."""
_DATA_FOLDERS = ("data/", "meta/", "videos/")

_START = re.compile(rf"{START_FOLDER}/[\w-][\w.-]*\.safetensors", re.ASCII)
_MAX_BYTES = {CONFIG_FILE: MAX_CONFIG_BYTES, WEIGHTS_FILE: MAX_WEIGHTS_BYTES, CARD_FILE: MAX_CARD_BYTES}


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """A file in a repository. Large files have a sha256, others a git blob hash."""

    name: str
    num_bytes: int
    git_sha1: str | None
    sha256: str | None


@dataclass(frozen=True, kw_only=True)
class PresetListing:
    """The preset files of a repository at one commit."""

    ref: HubRef
    commit: str
    files: tuple[RemoteFile, ...]

    @property
    def num_bytes(self) -> int:
        return sum(file.num_bytes for file in self.files)


@dataclass(frozen=True, kw_only=True)
class CachedPreset:
    """A revision in the local Hub cache."""

    repo: str
    commit: str
    folder: Path
    num_bytes: int


@dataclass(frozen=True, kw_only=True)
class UploadPlan:
    """The changes an upload would make. Creating a plan changes nothing."""

    repo: str
    is_new: bool
    as_pull_request: bool
    contents: Mapping[str, Path | bytes]
    """Path in the repository -> local file, or content."""
    deleted: tuple[str, ...]
    """Files of an earlier upload that this one does not have."""
    repo_type: Literal["model", "dataset"] = "model"
    tag: str | None = None
    """Tag for the new commit; an existing tag is moved."""

    @property
    def sizes(self) -> dict[str, int]:
        return {n: len(c) if isinstance(c, bytes) else c.stat().st_size for n, c in self.contents.items()}

    @property
    def page_url(self) -> str:
        return page_url(self.repo if self.repo_type == "model" else f"datasets/{self.repo}")

    @property
    def text(self) -> str:
        """The plan as text."""
        kind = "the main branch of"
        if self.as_pull_request or self.is_new:
            kind = "a pull request to" if self.as_pull_request else "a new repository,"
        width = max(map(len, (*self.contents, *self.deleted)))
        rows = [f"  {name:<{width}}  {num_bytes / 1e6:.3f} MB" for name, num_bytes in self.sizes.items()]
        rows += [f"  {name:<{width}}  deleted" for name in self.deleted]
        total = f"{len(self.sizes)} files, {sum(self.sizes.values()) / 1e6:.1f} MB"
        return "\n".join([f"to {kind} {self.page_url}", *rows, total + (f", tag {self.tag}" if self.tag else "")])


def is_offline() -> bool:
    """Whether network access is disabled."""
    return bool(constants.HF_HUB_OFFLINE)


def cached_folder(ref: HubRef) -> Path | None:
    """The folder of a complete cached preset, or None. Never uses the network."""
    try:
        with translate_errors(ref):
            folder = snapshot_download(
                ref.repo, revision=ref.revision, allow_patterns=list(DOWNLOADED_FILES), local_files_only=True
            )
    except PresetNotFoundError:
        return None
    needed = (CONFIG_FILE, WEIGHTS_FILE)
    return Path(folder) if all((Path(folder) / name).exists() for name in needed) else None


def list_files(ref: HubRef) -> PresetListing:
    """Requests the commit of `ref` and its files from the Hub.

    Raises: PresetNotFoundError, HubError; PresetError for a repository that is not a preset or too large.
    """
    with translate_errors(ref):
        info = HfApi().model_info(
            ref.repo, revision=ref.revision, files_metadata=True, timeout=constants.HF_HUB_ETAG_TIMEOUT
        )
    commit = info.sha or ""
    if not re.fullmatch("[0-9a-f]{40}", commit):  # it becomes a path in the cache
        raise HubError(f"{constants.ENDPOINT} returned {short_repr(commit)} as a commit", hint="check HF_ENDPOINT")
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


def fetch(ref: HubRef, report: Callable[[str], None] | None = None) -> Path:
    """Returns the preset's folder, downloading it if it is not cached.

    `report` receives a line for each stage and every few percent; without it the client draws its own progress bars.
    Raises: as `download`.
    """
    folder = cached_folder(ref)
    if folder is not None:
        return folder
    if report is None:
        return download(list_files(ref))
    report(f"requesting {ref.repo} from the Hub")
    listing = list_files(ref)
    last_percent = -REPORT_PERCENT

    def on_progress(num_bytes: int) -> None:
        nonlocal last_percent
        percent = min(100, 100 * num_bytes // max(1, listing.num_bytes))
        if percent >= last_percent + REPORT_PERCENT:
            last_percent = percent
            report(f"Downloading {ref.repo}: {percent} %, {num_bytes / 1e6:.1f} of {listing.num_bytes / 1e6:.1f} MB")

    on_progress(0)
    return download(listing, on_progress)


def download(listing: PresetListing, on_progress: Callable[[int], None] | None = None) -> Path:
    """Downloads to the Hub cache and checks every file's hash. Returns the folder.

    `on_progress` receives the number of bytes so far, from the client's threads. Cached files are not downloaded again.
    Raises: HubError, StorageError, PresetError for a damaged file (which is removed).
    """
    ref, cache = listing.ref, Path(constants.HF_HUB_CACHE).expanduser()
    home = cache / repo_folder_name(repo_id=ref.repo, repo_type="model")
    snapshot = home / "snapshots" / listing.commit
    missing_bytes = sum(file.num_bytes for file in listing.files if not (snapshot / file.name).exists())
    if missing_bytes:
        logger.info(
            f"downloading {ref} at {listing.commit[:12]} from {constants.ENDPOINT}: {len(listing.files)} files, "
            f"{listing.num_bytes / 1e6:.1f} MB ({missing_bytes / 1e6:.1f} MB not cached)"
        )
        _check_space(cache, missing_bytes)
    with translate_errors(ref):
        folder = snapshot_download(
            ref.repo,
            revision=listing.commit,
            allow_patterns=[file.name for file in listing.files],
            tqdm_class=None if on_progress is None else _progress_bar(on_progress),
        )
    _check_contents(Path(folder), listing.files)
    with translate_errors(ref):  # last: until here, the ref points to the previous commit
        name = home / "refs" / (ref.revision or "main")
        if ref.revision != listing.commit:
            name.parent.mkdir(parents=True, exist_ok=True)
            name.write_text(listing.commit, encoding="utf-8")
    return Path(folder)


def _progress_bar(on_progress: Callable[[int], None]) -> type[tqdm]:
    """A progress bar class for the client that draws nothing. Only its bars of bytes count: it also counts files."""

    class ByteCounter(tqdm):
        def __init__(self, *args: Any, **options: Any) -> None:
            self.num_bytes: int | None = options.get("initial", 0) if options.get("unit") == "B" else None
            super().__init__(*args, **{**options, "disable": True})  # type: ignore[no-untyped-call]

        def update(self, n: float | None = 1) -> bool | None:
            if self.num_bytes is not None and n:
                self.num_bytes += int(n)
                on_progress(self.num_bytes)
            return None

    return ByteCounter


def download_dataset(ref: HubRef) -> Path:
    """Downloads the newest commit of a dataset of sessions to the Hub cache; offline, returns the cached one.

    Raises: PresetNotFoundError, HubError, StorageError.
    """
    logger.info("downloading missing files of dataset %s from %s", ref, constants.ENDPOINT)
    with translate_errors(ref):
        return Path(
            snapshot_download(ref.repo, repo_type="dataset", revision=ref.revision, allow_patterns=list(DATA_FILES))
        )


def download_config(listing: PresetListing) -> Path:
    """Downloads only config.json, to describe a preset without its weights."""
    with translate_errors(listing.ref):
        path = Path(hf_hub_download(listing.ref.repo, CONFIG_FILE, revision=listing.commit))
    _check_contents(path.parent, [file for file in listing.files if file.name == CONFIG_FILE])
    return path


def cached_presets() -> list[CachedPreset]:
    """Cached repositories with the files of a preset, complete or not."""
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
    """Removes a repository, or one revision of it, from the cache. Returns: the commits, and the bytes freed.

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
        raise PresetNotFoundError(f"{ref} is not in the Hub cache", hint="worldsim presets list shows what is")
    strategy = info.delete_revisions(*commits)
    strategy.execute()
    return sorted(commits), strategy.expected_freed_size


def search(query: str | None, limit: int) -> list[dict[str, Any]]:
    """Repositories on the Hub whose card identifies them as presets, most downloaded first."""
    with translate_errors(None):
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
    """Raises: HubError if network access is disabled, or if a token is needed and missing."""
    if constants.HF_HUB_OFFLINE:
        raise HubError(
            "uploading needs the network, which is disabled (--offline or HF_HUB_OFFLINE)",
            hint="remove --offline; worldsim presets verify works without the network",
        )
    if needs_token and get_token() is None:
        raise HubError("uploading needs a Hub token, and none is set", hint=LOGIN_HINT)


def plan_upload(folder: Path, card: str, sample: Mapping[str, Path], repo: str, *, as_pull_request: bool) -> UploadPlan:
    """Plans the upload of a preset; changes nothing. `sample`: path in the repository -> local file.

    Raises: HubError; PresetNotFoundError for a pull request to a repository that does not exist.
    """
    starts = sorted((folder / START_FOLDER).glob("*.safetensors"))
    contents: dict[str, Path | bytes] = {CARD_FILE: card.encode()}
    for path in (folder / CONFIG_FILE, folder / WEIGHTS_FILE, *starts):
        contents[path.relative_to(folder).as_posix()] = path
    contents |= sample
    ref, is_new = HubRef(repo=repo), False
    there: Sequence[str] = ()
    try:
        with translate_errors(ref):
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
    """Plans the upload of a dataset: `contents` replace all recordings in the repository.

    An existing card is kept. Raises: HubError.
    """
    is_new, there = False, []
    try:
        with translate_errors(HubRef(repo=repo)):
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
    """Carries out `plan` as one commit or one pull request. Returns: the commit, its page, the pull request's page.

    Raises: HubError, PresetNotFoundError. Side effects: a new repository is created first.
    """
    operations: list[CommitOperationAdd | CommitOperationCopy | CommitOperationDelete] = [
        *(CommitOperationAdd(path_in_repo=name, path_or_fileobj=content) for name, content in plan.contents.items()),
        *(CommitOperationDelete(path_in_repo=name) for name in plan.deleted),
    ]
    with translate_errors(HubRef(repo=plan.repo)):
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
            with suppress(RevisionNotFoundError):  # the first upload has no tag to delete
                api.delete_tag(plan.repo, tag=plan.tag, repo_type=plan.repo_type)
            api.create_tag(plan.repo, tag=plan.tag, revision=info.oid, repo_type=plan.repo_type)
    return {"commit": info.oid, "commit_url": info.commit_url, "pull_request_url": info.pr_url}


def _check_is_preset(ref: HubRef, names: Sequence[str]) -> None:
    for needed in (CONFIG_FILE, WEIGHTS_FILE):
        if needed not in names:
            raise PresetError(
                f"{ref} is not a preset: it has no {needed}", hint="worldsim presets search lists presets"
            )
    if not any(_START.fullmatch(name) for name in names):
        raise PresetError(f"{ref} is not a preset: it has no start", hint="worldsim presets search lists presets")


def _check_sizes(ref: HubRef, files: Sequence[RemoteFile]) -> None:
    starts = [file for file in files if file.name not in _MAX_BYTES]
    for file in files:
        most = _MAX_BYTES.get(file.name, MAX_START_BYTES)
        if file.num_bytes > most:
            raise PresetError(
                f"{file.name} of {ref} has {file.num_bytes} bytes", hint=f"nothing was downloaded; the limit is {most}"
            )
    if len(starts) > MAX_STARTS or sum(start.num_bytes for start in starts) > MAX_STARTS_BYTES:
        raise PresetError(
            f"{ref} has {len(starts)} starts of {sum(start.num_bytes for start in starts)} bytes",
            hint=f"nothing was downloaded; the limits are {MAX_STARTS} and {MAX_STARTS_BYTES} bytes",
        )


def _check_space(cache: Path, num_bytes: int) -> None:
    there = next(path for path in (cache, *cache.parents) if path.is_dir())
    free_bytes = shutil.disk_usage(there).free
    if free_bytes < num_bytes:
        raise StorageError(
            f"needs {num_bytes / 1e6:.1f} MB, {free_bytes / 1e6:.1f} MB available in {there}",
            hint="worldsim presets rm frees space; HF_HOME moves the cache",
        )


def _check_contents(folder: Path, files: Sequence[RemoteFile]) -> None:
    """Compares with the listed hashes. Files that differ are removed, or the client would treat them as cached."""
    errors = [error for file in files if (error := _hash_mismatch(folder / file.name, file)) is not None]
    if errors:
        raise errors[0]


def _hash_mismatch(path: Path, file: RemoteFile) -> PresetError | None:
    """Side effects: a file with another hash is removed."""
    content = b"" if file.sha256 else path.read_bytes()
    git_sha1 = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest
    expected, found = (file.sha256, sha256(path)) if file.sha256 else (file.git_sha1, git_sha1())
    if expected == found:
        return None
    path.resolve().unlink()
    path.unlink(missing_ok=True)
    return damaged_error(path, f"downloaded with hash {found[:12]}, the Hub lists {short_repr(expected)[1:13]}")
