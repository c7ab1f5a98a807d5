"""Which disks a plan writes to, over generated inspections.

The meaning of each line of an inspection is stated here once more, independently of the program.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from fabfile.errors import Refused
from fabfile.facts import disks
from fabfile.facts.lvm import Lvm
from fabfile.host import Host
from fabfile.plan import Change, Command
from fabfile.pool.limits import Growth
from fabfile.pool.lvm import extend
from fabfile.sizes import GIB
from tests.unit.pool.groups import PV, SETTINGS, asked, fresh, made, plan

CONTENT = (
    "signature ext4,0x438,precious",
    "signature gpt,0x200,",
    "signature crypto_LUKS,0x0,",
    "signature zfs_member,0x20000,",
    "signature bcache,0x1018,",
    "signature something-new,0x10,",
    "signature ambivalent,,",
    "bytes 7 0 1-8388608",
    "bytes 0 5 1-8388608",
    "node {minor}1 {kernel}1 {kernel}1 part",
    "node {minor}1 {kernel}1 {kernel}1 part\ninside {kernel}1 ext4",
    "signature LVM2_member,0x218,\npv {number}|theirs||||---|",
)
"""Content only, which an operator may give up."""

USE = (
    "mount /srv/data",
    "swap /dev/{kernel}",
    "held btrfs 1f",
    "root /dev/{kernel}",
    "multipath",
    "exclusive",
    "open 12 sleep",
    "node 253:0 dm-0 user-lv lvm",
    "node 253:0 dm-0 secret crypt",
    "node 9:127 md127 md127 raid1",
    "node 7:5 loop5 loop5 loop",
    "node {minor}1 {kernel}1 {kernel}1 part\npv {minor}1|theirs|user|uuid|wz--n-|a--|",
    "node {minor}1 {kernel}1 {kernel}1 part\ninside {kernel}1 LVM2_member",
    "signature LVM2_member,0x218,\npv {number}|theirs|user|uuid|wz--n-|a--|",
    "signature LVM2_member,0x218,\npv {number}|theirs|away|uuid|wzx-n-|a--|",
    "signature LVM2_member,0x218,\npv {number}|theirs|far|uuid|wz--n-|a--|web1",
    "signature LVM2_member,0x218,\npv {number}|theirs|shared|uuid|wz--ns|a--|",
    "signature LVM2_member,0x218,\npv {number}|theirs||||d--|",
    "signature LVM2_member,0x218,",
)
"""In use, or possibly so, as LVM does not know the owner."""

UNFIT = (
    "unreadable error reading '/dev/{kernel}': Input/output error",
    "signature wipefs: error: /dev/{kernel}: probing initialization failed",
    "lvm Cannot use /dev/{kernel}: device is rejected by filter config",
    "lvm pvs failed",
    "read-only 1",
    "size 1048576",
    "node {number} {kernel} {kernel} part",
    "node {number} {kernel} {kernel} loop",
    "node {number} {kernel} {kernel} unknown",
    "absent",
    "special character special file",
)
"""Unusable, or of unknown content."""

INSTEAD = ("read-only", "size", "node {number}")
"""Lines that replace those of every inspection."""


class Made(msgspec.Struct, frozen=True):
    """A generated inspection: the disk, and what was generated about it."""

    kernel: str
    lines: tuple[str, ...]

    @property
    def asked(self) -> str:
        return f"/dev/disk/by-id/{self.kernel}"

    @property
    def real(self) -> str:
        return f"/dev/{self.kernel}"

    @property
    def text(self) -> str:
        if "absent" in self.lines:
            return f"asked {self.asked}\nabsent\n"
        minor = f"254:{ord(self.kernel[-1])}"
        usual = {
            "size": f"size {20 * GIB}",
            "read-only": "read-only 0",
            "node {number}": "node {number} {kernel} {kernel} disk",
        }
        usual |= {key: line for line in self.lines for key in INSTEAD if line.startswith(key)}
        more = [line for line in self.lines if not line.startswith(INSTEAD)]
        lines = ["asked {asked}", "real {real}", "number {number}", "serial {kernel}", *usual.values(), *more, ""]
        return "\n".join(lines).format(
            asked=self.asked, real=self.real, number=f"{minor}0", minor=minor, kernel=self.kernel
        )

    @property
    def inspected(self) -> disks.Disk:
        (inspected,) = disks.parse(self.text)
        return inspected

    def free(self, wipes: Sequence[str]) -> bool:
        """Return whether it may be used: nothing was found, or only content that may be destroyed."""
        return not self.lines or ({*self.lines} <= {*CONTENT} and bool({self.asked, self.real} & {*wipes}))


LINES = (
    st.lists(st.one_of(*map(st.sampled_from, (CONTENT, USE, UNFIT))), max_size=3, unique=True)
    .filter(lambda lines: sum("signature LVM2_member" in line for line in lines) < 2)  # a disk has one label of LVM's
    .map(tuple)
)
DISKS = st.tuples(LINES, LINES, LINES).map(
    lambda found: [Made(f"vd{letter}", lines) for letter, lines in zip("xyz", found, strict=True)]
)
CHOICE = st.lists(st.integers(0, 2), min_size=1, max_size=3, unique=True)


def taken(changes: list[Change], found: list[Made]) -> tuple[set[str], set[str]]:
    """Return the disks that a plan wipes, and those that it writes to."""
    scripts = [change.script for change in changes if isinstance(change, Command)]
    writes = ("wipe_disk", "blank_pv", "pvcreate", "vgcreate", "vgextend", "wipefs", "dd")
    lines = [line.split() for script in scripts for line in script.splitlines() if line.startswith(writes)]

    def named(lines: list[list[str]]) -> set[str]:
        return {made.kernel for made in found for line in lines if {made.asked, made.real} & {*line}}

    return named([line for line in lines if line[0] in ("wipe_disk", "blank_pv")]), named(lines)


def check(found: list[Made], devices: list[int], wiped: list[int], changes: list[Change] | None) -> None:
    """Check that a plan was refused, or writes only to requested disks, each of which may be used."""
    wipes = [found[number].asked for number in wiped]
    asked_for = [found[number] for number in devices]
    may = all(made.free(wipes) for made in asked_for) and {*wiped} <= {*devices}
    assert (changes is not None) == may
    if changes is not None:
        wiping, writing = taken(changes, found)
        assert wiping == {made.kernel for made in asked_for if made.lines}
        assert writing == {made.kernel for made in asked_for}


def tried(make: object) -> list[Change] | None:
    assert callable(make)
    try:
        return list(make())
    except Refused:
        return None


@given(DISKS, CHOICE, st.lists(st.integers(0, 2), max_size=2, unique=True))
def test_a_pool_is_made_of_disks_that_nothing_is_on_or_that_were_named_to_be_wiped(
    found: list[Made], devices: list[int], wiped: list[int]
) -> None:
    have = fresh(*(made.inspected for made in found), lvm=Lvm(SETTINGS, seed="seed"))
    names = [found[number].asked for number in devices]
    wipes = tuple(found[number].asked for number in wiped)
    check(found, devices, wiped, tried(lambda: plan(have, asked(*names), wipes)))


@given(DISKS, CHOICE, st.lists(st.integers(0, 2), max_size=2, unique=True))
def test_a_pool_grows_only_onto_such_disks(found: list[Made], devices: list[int], wiped: list[int]) -> None:
    have = made(disks=tuple(made.inspected for made in found))
    names = tuple(found[number].asked for number in devices)
    wipes = tuple(found[number].asked for number in wiped)
    step = extend.step(Host(pool=asked()), Growth(devices=names, wipes=wipes))
    check(found, devices, wiped, tried(lambda: step.plan(have)))


@given(LINES, st.booleans())
def test_a_disk_that_an_interrupted_run_of_ours_left_is_taken_as_it_is_unless_more_was_found(
    lines: tuple[str, ...], named: bool
) -> None:
    """It has our physical volume, in no group; anything else on it is not ours."""
    if "absent" in lines or any(line.startswith("signature LVM2_member") for line in lines):
        return
    disk = Made("vdx", lines)
    (inspected,) = disks.parse(f"{disk.text}signature LVM2_member,0x218,\npv 254:1200|{PV}||||---|\n")
    growth = Growth(devices=(disk.asked,), wipes=(disk.asked,) if named else ())
    step = extend.step(Host(pool=asked()), growth)
    changes = tried(lambda: step.plan(made(disks=(inspected,))))
    ours = all(line.startswith("bytes ") for line in lines)
    assert (changes is not None) == (ours or (named and {*lines} <= {*CONTENT}))
    if changes is not None:
        assert taken(changes, [disk]) == (set() if ours else {"vdx"}, {"vdx"})
