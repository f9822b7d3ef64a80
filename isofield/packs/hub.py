"""A packed run on a hub of models: hf:OWNER/NAME@REVISION, through huggingface_hub (the extra `hub`).

pack.json is fetched first, then the files that it names, nothing else of the repository. Each is held against its
SHA-256 on the way into our cache. HF_ENDPOINT, HF_HOME, HF_TOKEN and HF_HUB_OFFLINE mean what they always do.
"""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from isofield.packs.cache import install
from isofield.packs.manifest import MANIFEST, MOST_BYTES, parse_manifest
from isofield.run_dir import RunDir
from isofield.runtime.reasons import reason_of

PREFIX = "hf:"
EXPECTED = (
    "expected hf:OWNER/NAME@REVISION of a packed run; REVISION: a branch, a tag, or a commit, which nobody can move"
)
UNREACHABLE = "the hub cannot be reached: look at the network, the proxy and HF_ENDPOINT"
# Exceptions of the library by name, in this order: some of them are kinds of those below.
REASONS = {
    "OfflineModeIsEnabled": "it is not in the cache, and HF_HUB_OFFLINE forbids to ask the hub",
    "LocalEntryNotFoundError": "it is not in the cache, and the hub cannot be reached (or HF_HUB_OFFLINE is set)",
    "GatedRepoError": "its owner asks for consent: give it on the page of the repository, then log in (HF_TOKEN)",
    "RevisionNotFoundError": "the repository has no such revision",
    "RepositoryNotFoundError": "the hub has no such repository, or it is private: mend the name, or log in (HF_TOKEN)",
    "DisabledRepoError": "the hub has closed this repository",
    "EntryNotFoundError": "the repository does not hold it",
    "HFValidationError": "the hub has no repository of such a name: mend it",
}
NOT_ALLOWED = (401, 403)  # HTTP states of a token that is wrong, too old, or allows too little
NETWORK_LIBRARIES = ("httpx", "httpcore", "requests", "urllib3")
PART = r"[A-Za-z0-9][\w.-]*"
ADDRESS = re.compile(rf"hf:(?P<repository>{PART}/{PART})@(?P<revision>{PART}(/{PART})*)", re.ASCII)


def fetch_from_hub(address: str) -> RunDir:
    """The pack at an address, as a folder in the cache that is named by its content.

    ValueError for an address that is none, without the extra `hub`, when the hub does not have it or cannot be reached,
    and for what no pack is.
    """
    match = ADDRESS.fullmatch(address)
    if match is None:
        raise ValueError(f"{address}: {EXPECTED}")
    repository = _Repository(address, match["repository"], match["revision"])
    image = repository.fetch(MANIFEST, most=MOST_BYTES[MANIFEST]).read_bytes()
    manifest = parse_manifest(image, where=f"{address}: {MANIFEST}")

    def open_file(name: str) -> IO[bytes]:
        return open(repository.fetch(name, most=manifest.files[name].size), "rb")

    return install(manifest, image, open_file, where=address)


class _Repository:
    """One revision of a repository."""

    def __init__(self, address: str, repository: str, revision: str) -> None:
        self.address, self.repository, self.revision = address, repository, revision
        self.hub = _library(address)

    def fetch(self, name: str, *, most: int) -> Path:
        """A file in the library's own cache. ValueError when it is not to be had, or larger than `most` bytes."""
        with self._one_error(name):
            url = self.hub.hf_hub_url(self.repository, name, revision=self.revision)
            with contextlib.suppress(self.hub.errors.OfflineModeIsEnabled):  # then it is here already
                # Asked before it is fetched: gigabytes of something else would fill the user's cache.
                size = self.hub.get_hf_file_metadata(url).size
                if size is not None and size > most:
                    raise ValueError(f"{size:,} bytes on the hub, expected at most {most:,}")
            return Path(self.hub.hf_hub_download(self.repository, name, revision=self.revision))

    @contextlib.contextmanager
    def _one_error(self, name: str) -> Iterator[None]:
        """Whatever the library and the network raise becomes one sentence of ours."""
        try:
            yield
        except Exception as error:  # what its network library raises differs by version
            reason = _reason(error, self.hub.errors)
            raise ValueError(f"{self.address}: {name} cannot be fetched: {reason}; {EXPECTED}") from error


def _reason(error: Exception, errors: Any) -> str:
    """Why nothing came, without the words of the library. `errors`: its module of exceptions."""
    for kind, reason in REASONS.items():
        if isinstance(error, getattr(errors, kind, ())):  # not every version has all of them
            return reason
    if isinstance(error, getattr(errors, "HfHubHTTPError", ())):
        status = getattr(getattr(error, "response", None), "status_code", None)
        way_out = "look at your login (HF_TOKEN)" if status in NOT_ALLOWED else "try again later"
        return f"the hub refused it{f' (HTTP status {status})' if status else ''}: {way_out}"
    # Errors of the connection belong to whichever network library this version has; a full disk is the system's.
    if type(error).__module__.startswith(NETWORK_LIBRARIES):
        return UNREACHABLE
    return reason_of(error, otherwise="the download broke off: run the same command again")


def _library(address: str) -> Any:
    try:
        import huggingface_hub
        import huggingface_hub.errors
    except ImportError as error:
        raise ValueError(f"{address}: runs on the hub need an extra: pip install 'isofield[hub]'") from error
    return huggingface_hub
