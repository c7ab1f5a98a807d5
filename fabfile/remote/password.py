"""Get the sudo password of a run: typed, read from a file that only its owner can read, or printed by a command."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path
from shlex import quote

from fabfile.errors import Interrupted, Refused
from fabfile.remote import sudo

PROMPT, FILE, COMMAND = "prompt-for-sudo-password", "sudo-password-file", "sudo-password-command"
"""Options in front of the task; the first one is Invoke's own."""

MOST = 1023
"""Limit for the bytes of a password; sudo reads no more."""

LIMIT = 120
"""Limit in seconds for the command, which may ask the operator to unlock a password store."""


def take(*, prompt: bool, file: str, command: str) -> None:
    """Get the password from the source that is given, and answer sudo with it from now on; without a source do nothing.

    Args:
        prompt: ask for it on the terminal.
        file: path of a file with it; empty: none.
        command: command line for sh that prints it; empty: none.

    Raises:
        Refused: several sources are given, or there is no usable password.
        Interrupted: Ctrl-C at the prompt, or while the command ran.
    """
    given = [f"--{name}" for name, value in ((PROMPT, prompt), (FILE, file), (COMMAND, command)) if value]
    if not given:
        return
    if len(given) > 1:
        raise Refused(f"{' and '.join(given)}: only one of them can be given", hint=f"remove {given[0]}")
    try:
        found = _typed() if prompt else _read(Path(file)) if file else _printed(command)
    except KeyboardInterrupt:
        raise Interrupted(f"interrupted: {given[0]} got no password") from None
    sudo.use(_one_line(found, given[0]))


def _one_line(found: bytes, option: str) -> bytes:
    """Return the password without the line end, and refuse one that sudo cannot read.

    Args:
        found: what was typed, read or printed.
        option: the option, for an error.
    """
    line = found.removesuffix(b"\n").removesuffix(b"\r")
    if not line:
        raise Refused(f"{option}: the password is empty")
    if len(line) > MOST:
        raise Refused(f"{option}: the password is too long", f"at most {MOST} bytes")
    if set(line) & set(b"\n\r\0"):
        raise Refused(f"{option}: this is not one line", "a password alone is expected, in one line")
    return line


def _typed() -> bytes:
    from getpass import getpass

    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError as error:
        what = f"--{PROMPT} needs a terminal to ask on"
        raise Refused(what, error.strerror or "", hint=f"read it from a file: --{FILE} FILE") from error
    try:
        return getpass("sudo password: ").encode(errors="surrogateescape")
    except EOFError:
        raise Refused(f"--{PROMPT}: no password was typed") from None


def _read(file: Path) -> bytes:
    try:
        # O_NONBLOCK: opening a FIFO would wait for a writer. Nothing is read unless it is a regular file.
        with os.fdopen(os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY), "rb") as stream:
            found = os.fstat(stream.fileno())
            if not stat.S_ISREG(found.st_mode):
                hint = f"for a program that prints it: --{COMMAND} COMMAND"
                raise Refused(f"--{FILE}: {file} is not a regular file", hint=hint)
            if found.st_uid != os.geteuid():
                raise Refused(f"--{FILE}: {file} belongs to somebody else", f"to the user id {found.st_uid}")
            if found.st_mode & 0o077:
                raise Refused(
                    f"--{FILE}: others can use {file}",
                    f"its mode is {stat.S_IMODE(found.st_mode):04o}, and must be 0600",
                    hint=f"chmod 600 {quote(str(file))}",
                )
            return stream.read(MOST + 3)
    except OSError as error:
        raise Refused(f"--{FILE}: cannot read {file}", error.strerror or type(error).__name__) from error


def _printed(command: str) -> bytes:
    """Return what a command prints on standard output; it keeps the terminal, and can ask a question there."""
    with subprocess.Popen(["/bin/sh", "-c", command], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            found = process.communicate(timeout=LIMIT)[0]
        except subprocess.TimeoutExpired:
            process.kill()
            raise Refused(f"--{COMMAND} printed nothing", f"it did not end within {LIMIT} s") from None
        except KeyboardInterrupt:
            process.kill()
            raise
    if process.returncode:
        raise Refused(f"--{COMMAND} failed", f"exit code {process.returncode}")
    return found
