"""The toolchain that builds containerd: Go in /usr/local/go, protoc in /usr/local/bin with its include files."""

from __future__ import annotations

from typing import Any

from fabfile import inventory
from fabfile.converge import converge
from fabfile.facts import Facts
from fabfile.facts.query import about
from fabfile.host import Host
from fabfile.output.outcome import Outcome
from fabfile.plan import Change, Step, file
from fabfile.remote.context import Context
from fabfile.steps import versioned

GOROOT = "/usr/local/go"
PROFILE = "/etc/profile.d/go.sh"
PROFILE_TEXT = f"""# Written by containerd-devmapper.
export GOROOT={GOROOT}
case :$PATH: in *:{GOROOT}/bin:*) ;; *) PATH={GOROOT}/bin:$PATH ;; esac
"""

PROVE_PROTOC = """mkdir "$d/.prove"
cat >"$d/.prove/t.proto" <<'PROTO'
syntax = "proto3";
import "google/protobuf/empty.proto";
message Pool { string name = 1; google.protobuf.Empty none = 2; }
PROTO
"$d/bin/protoc" -I"$d/.prove" -I"$d/include" --descriptor_set_out="$d/.prove/t.pb" "$d/.prove/t.proto"
test -s "$d/.prove/t.pb"; rm -r "$d/.prove\""""


def go_step(host: Host) -> Step:
    """The step that installs the Go toolchain of the host's release."""

    def plan(have: Facts) -> list[Change]:
        go = versioned.release(host, have.system.arch).go
        profile = file(have, "Go in the PATH of every login", PROFILE, PROFILE_TEXT)
        there = have.files.get(f"{GOROOT}/VERSION")
        if have.versions["go"].links.get(GOROOT) == "" and there and there.content.split()[:1] == [f"go{go.version}"]:
            return profile  # installed by hand: the same version will do
        unpack = 'tar -xzf "$1" -C "$d" --strip-components=1 --no-same-owner'
        prove = versioned.says('GOROOT="$d" "$d/bin/go" version', f"go{go.version}")
        return versioned.changes(have, "go", go.key, go, unpack, {GOROOT: ""}, prove) + profile

    return Step("toolchain.go", plan, about(host, files=(PROFILE, f"{GOROOT}/VERSION"), only=("versions", "files")))


def protoc_step(host: Host) -> Step:
    """The step that installs the protoc of the host's release, and checks that it compiles."""

    def plan(have: Facts) -> list[Change]:
        protoc = versioned.release(host, have.system.arch).protoc
        unpack = 'tar -xzf "$1" -C "$d" --no-same-owner'
        links = {f"{host.bin_dir}/protoc": "bin/protoc", "/usr/local/include/google": "include/google"}
        return versioned.changes(have, "protoc", protoc.key, protoc, unpack, links, PROVE_PROTOC)

    return Step("toolchain.protoc", plan, about(host, only=("versions",)))


def install_go(c: Context, **given: Any) -> list[Outcome]:
    """Install Go; `given` are settings of the host that were typed."""
    return converge(c, [go_step(inventory.of(c, **given))])


def install_protoc(c: Context, **given: Any) -> list[Outcome]:
    """Install protoc; `given` are settings of the host that were typed."""
    return converge(c, [protoc_step(inventory.of(c, **given))])
