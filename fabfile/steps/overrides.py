"""What makes a containerd differ from its config.toml: imports, disabled plugins, its command line."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

import msgspec

from fabfile import hints
from fabfile.errors import Refused
from fabfile.facts import Facts
from fabfile.facts import config as facts
from fabfile.facts.config import KEYS, ConfigFile
from fabfile.instance import Daemon

NEEDED = re.compile(
    r"(?:io\.containerd\.(?:snapshotter|grpc|cri|transfer|metadata|content|runtime|service|differ|gc|lease|sandbox|"
    r"sandbox\.controller|shim|event|server|image-verifier|internal|podsandbox\.controller|sandbox\.store|mount-manager|"
    r"streaming|warning)\.v\d+\.)?"
    r"(?:devmapper|overlayfs|cri|images|runtime|local|bolt|content|task|shim|manager|scheduler|walking|exchange|grpc|"
    r"ttrpc|podsandbox|store|containers|diff|events|introspection|leases|namespaces|snapshots|tasks|version|transfer|"
    r"linux|bindir|deprecations|streaming|[a-z]+-service)"
)
"""Plugins that containers, or those of CRI, cannot do without, by their names in every format.

Without one of them, containerd 1.6.20, 1.7.34, 2.2.7 or 2.3.4 does not start, or a plugin for containers does not load.
"""


class Override(msgspec.Struct, frozen=True):
    """Something that overrides our settings."""

    path: str
    """The file that has to be changed; empty if only containerd itself knows."""
    found: str


class Requirements(msgspec.Struct, frozen=True):
    """What must be true of a containerd, whatever its files say."""

    daemon: Daemon
    format: int
    pool: str
    root: str
    """Directory of the snapshotter."""
    base_image_size: str
    arch: str

    @property
    def values(self) -> dict[str, str]:
        """Key of `KEYS` → required value, apart from lists."""
        return {
            "root": self.daemon.root,
            "state": self.daemon.state,
            "address": self.daemon.socket,
            "pool_name": self.pool,
            "root_path": self.root,
            "base_image_size": self.base_image_size,
            "snapshotter": "devmapper",
            **({"socket_path": self.daemon.nri} if self.daemon.instance and self.format >= 3 else {}),
        }

    def wrong(self, key: str, value: str) -> bool:
        """Return whether `value` differs from what is required."""
        if key == "unpack_config":
            if self.format < 3:
                return False  # 1.7 dumps it, but its CRI does not use it, and neither does a deploy write it
            has = value.splitlines()
            return not all(f"linux/{self.arch} {name}" in has for name in ("devmapper", "overlayfs"))
        return key in self.values and value.rstrip("/") != self.values[key].rstrip("/")


def refuse(have: Facts, want: Requirements, text: str, *, installed: bool = True) -> None:
    """Refuse to configure a containerd that would not run as configured.

    Args:
        have: facts of the machine.
        want: what is required.
        text: the future content of its config.toml.
        installed: whether the installed containerd is the one to be configured. What another version makes of its files
            means nothing, as after a deploy of another release that was interrupted.

    Raises:
        Refused: with every line that overrides our settings, and its file.
    """
    found = find_overrides(have, want, text, installed=installed)
    if found:
        paths = list(dict.fromkeys(one.path for one in found if one.path)) or [want.daemon.config_path]
        raise Refused(
            f"{want.daemon} would not run with the settings of its pool",
            "\n".join(one.found for one in found),
            hint=f"change {' and '.join(paths)}, then {hints.command('deploy', want.daemon)}",
        )


def find_overrides(have: Facts, want: Requirements, text: str, *, installed: bool = True) -> list[Override]:
    """List everything that overrides our settings; see `refuse`."""
    ours = facts.source(want.daemon.config_path, text)
    sources = [ours, *_imports(have, want, text)]
    found = [Override(file.path, f"{file.path}: {file.problem}") for file in sources if file.problem]
    found += [*disabled(sources), *_overridden(sources, want), *_commands(have, want.daemon)]
    now = have.files.get(want.daemon.config_path)
    if not found and installed and now and now.content == text:
        found = _loaded(have, want)
    return found


def _imports(have: Facts, want: Requirements, text: str) -> tuple[ConfigFile, ...]:
    """The files that `text` imports; our edits keep its imports, or drop them all."""
    now = have.files.get(want.daemon.config_path)
    return have.config.sources[1:] if now and imports(text) == imports(now.content) else ()


def imports(text: str) -> list[str]:
    """Return the imports of a config.toml; none if it is not TOML."""
    import tomllib

    try:
        said = tomllib.loads(text).get("imports", [])
    except tomllib.TOMLDecodeError:
        return []
    return [str(name) for name in said] if isinstance(said, list) else [str(said)]


def disabled(sources: Sequence[ConfigFile]) -> list[Override]:
    """Find the lines that disable required plugins."""
    return [
        Override(file.path, f"{file.path}:{line}: disabled_plugins has {name}, which is required")
        for file in sources
        for name, line in file.disabled.items()
        if NEEDED.fullmatch(name)
    ]


def _overridden(sources: Sequence[ConfigFile], want: Requirements) -> list[Override]:
    """Keys with another value than ours, as containerd merges its files."""
    now: dict[str, tuple[str, str, int]] = {}
    for file in sources:
        for plugin, line in file.sections.items() if want.format < 3 else ():
            # Before 2.0 a plugin's table replaces all earlier ones, including keys that it lacks.
            now |= dict.fromkeys(_keys(plugin), ("", file.path, line))
        # Lists are joined instead of replaced.
        said = {key: value for key, value in file.values.items() if key != "unpack_config" or file is sources[0]}
        now |= {key: (value.text, file.path, value.line) for key, value in said.items()}
    return [
        Override(path, f"{path}:{line}: {_said(key, text)}, it must be {_right(key, want)}")
        for key, (text, path, line) in now.items()
        if want.wrong(key, text)
    ]


def _keys(plugin: str) -> list[str]:
    """The keys of `KEYS` that are in a plugin's table."""
    return [key for key, places in KEYS.items() if any(place[:2] == ("plugins", plugin) for place in places)]


def _said(key: str, value: str) -> str:
    return f"{key} is {', '.join(value.splitlines())}" if value else f"its table lacks {key}"


def _right(key: str, want: Requirements) -> str:
    return want.values.get(key, "for devmapper and overlayfs")


LONG = ("config", "address", "root", "state")
OPTIONS = {f"--{name}": name for name in LONG} | {"-c": "config", "-a": "address"}
"""Options of containerd's command line that determine which instance it is."""


def _commands(have: Facts, daemon: Daemon) -> list[Override]:
    """Drop-ins of the unit that start another program, or with other options."""
    found = []
    for path, command in have.config.commands.items():
        wrong = strays(command, daemon)
        program = _parsed(command)[0]
        if program != f"{daemon.bin_dir}/containerd":
            wrong.insert(0, program)
        if wrong:
            found.append(Override(path, f"{path}: ExecStart has {', '.join(wrong)}; the unit's is {daemon.command}"))
    return found


def strays(command: str, daemon: Daemon) -> list[str]:
    """Return the options of a command line that make it another instance."""
    right = {"config": daemon.config_path, "address": daemon.socket, "root": daemon.root, "state": daemon.state}
    options = _parsed(command)[1]
    wrong = [f"--{key} {value}" for key, value in options.items() if value.rstrip("/") != right[key]]
    if daemon.instance and "config" not in options:
        wrong.append(f"no --config {daemon.config_path}")
    return wrong


def _parsed(command: str) -> tuple[str, dict[str, str]]:
    """The program of an ExecStart, and its `OPTIONS`."""
    try:
        program, *rest = shlex.split(command)
    except ValueError:
        return command, {}
    found, words = {}, iter(rest)
    for word in words:
        name, equals, value = word.partition("=")
        name = f"-{name}" if name.startswith("-") and not name.startswith("--") and len(name) > 2 else name
        if name in OPTIONS:
            found[OPTIONS[name]] = value if equals else next(words, "")
    return program.lstrip("-@:+!"), found


def _loaded(have: Facts, want: Requirements) -> list[Override]:
    """Differences that only containerd's own dump shows, and none of the files."""
    config, path = have.config, want.daemon.config_path
    if config.problem:
        return [Override(path, f"containerd does not load {path}: {config.problem}")]
    if config.dump is None:
        return []  # no containerd is installed yet
    return [
        Override(path, f"containerd config dump: {_said(key, value)}, it must be {_right(key, want)}")
        for key, value in config.dump.items()
        if want.wrong(key, value)
    ]
