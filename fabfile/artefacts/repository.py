"""A git repository for a single fetch: git runs with its own environment and configuration, within limits.

The caller's environment, ~/.gitconfig, templates, hooks and attributes have no effect on it.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from time import monotonic

import msgspec

from fabfile import interruption
from fabfile.artefacts import address
from fabfile.artefacts.web import HINT, TIMEOUT
from fabfile.errors import Failed

SECONDS = 3600
"""Limit for the whole fetch; a mirror of plain files sends the entire history."""

MOST = 2 << 30
"""Limit for each file that git writes in bytes: ten times containerd's history."""

CONFIG = """[core]
	hooksPath = /dev/null
	attributesFile = /dev/null
	excludesFile = /dev/null
	autocrlf = false
	bigFileThreshold = 16m
[init]
	defaultBranch = main
[http]
	lowSpeedLimit = 1
	lowSpeedTime = {timeout}
{more}"""
# Give up if a server stops sending. One with much to prepare sends a few bytes every 5 s, and must not be given up, so
# the speed limit is no higher.


class Done(msgspec.Struct, frozen=True):
    """The outcome of a git command."""

    exited: int
    stdout: Path
    stderr: str
    """The end of its standard error."""


class Repository:
    """An empty bare repository in a directory."""

    def __init__(self, directory: Path, url: str) -> None:
        """Create it.

        Args:
            directory: an empty directory, which also becomes git's home.
            url: where to fetch from, without credentials.

        Raises:
            Failed: git could not create it.
        """
        self.directory, self.url, self.until = directory, url, monotonic() + SECONDS
        self._commands = 0
        (directory / "config").write_text(CONFIG.format(timeout=TIMEOUT, more=_trusted(url) + _authority()))
        done = self.run("init", "-q", "--bare", "--template=", "--", str(directory / "git"), repository=False)
        if done.exited:
            raise Failed("git init failed", f"exit code {done.exited}\n{done.stderr}")

    def fetch(self, what: str, *options: str) -> Done:
        """Fetch a ref, or a commit if the server allows that."""
        quiet = ("-q", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules")
        return self.run("fetch", *quiet, *options, "--", self.url, what)

    def run(self, *args: str, stdin: Path = Path(os.devnull), most: int = MOST, repository: bool = True) -> Done:
        """Run a git command.

        Args:
            args: the command and its arguments.
            stdin: file for its standard input.
            most: limit for each file that it writes, its output included, in bytes.
            repository: whether the repository exists already.

        Raises:
            Failed: the time limit for the whole fetch was reached.
        """
        self._commands += 1
        out, err = (self.directory / f"{name}{self._commands}" for name in ("out", "err"))
        where = ("--git-dir", str(self.directory / "git")) if repository else ()
        limited = ("sh", "-c", 'ulimit -f "$0" 2>/dev/null || :; exec "$@"', str(most // 512))
        with stdin.open("rb") as given, out.open("wb") as output, err.open("wb") as errors:
            process = subprocess.Popen(
                [*limited, "git", *where, *args], stdin=given, stdout=output, stderr=errors, cwd=self.directory,
                env=environment(self.directory, self.url), start_new_session=True,
            )  # fmt: skip
            with interruption.ended_with(process):
                try:
                    exited = process.wait(max(self.until - monotonic(), 0))
                except subprocess.TimeoutExpired as late:
                    raise Failed(
                        f"git did not finish with {self.url}", f"it took longer than {SECONDS} s", hint=HINT
                    ) from late
        with err.open("rb") as errors:
            errors.seek(max(err.stat().st_size - 4000, 0))
            return Done(exited, out, errors.read().decode(errors="replace").strip())


def environment(home: Path, url: str) -> dict[str, str]:
    """Return the environment in which git runs.

    Args:
        home: a directory of ours with the file `config`.
        url: where to fetch from; its password goes into the environment, as arguments are visible to every user.
    """
    dropped = ("SSH_ASKPASS", "XDG_CONFIG_HOME", "XDG_CACHE_HOME")
    own = {key: value for key, value in os.environ.items() if not key.startswith("GIT_") and key not in dropped}
    settings = {}
    if value := address.authorization(url):
        # git would send the header to whatever server the first one names, and fetch everything from there.
        settings = {"http.extraHeader": f"Authorization: {value}", "http.followRedirects": "false"}
    own |= {
        "HOME": str(home),
        "LC_ALL": "C",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": str(home / "config"),
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_ALLOW_PROTOCOL": ":".join(address.STRONGER.get(url.partition(":")[0], ())),
        "GIT_TERMINAL_PROMPT": "0",  # nobody can answer a password prompt
        "GIT_ASKPASS": "",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_CONFIG_COUNT": str(len(settings)),
    }
    for number, (key, value) in enumerate(settings.items()):
        own |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    return own


def _trusted(url: str) -> str:
    """Let git read a directory of root's like one's own; root can do everything here anyway."""
    if not url.startswith("file:"):
        return ""
    path = address.file_path(url).resolve()
    if not path.exists() or path.stat().st_uid != 0:
        return ""
    return f"[safe]\n\tdirectory = {_value(str(path))}\n"


def _authority() -> str:
    """Let git trust the same certificate authorities as the rest of a deploy."""
    file = os.environ.get("SSL_CERT_FILE", "")
    return f"[http]\n\tsslCAInfo = {_value(file)}\n" if file else ""


def _value(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
