"""The gate in a real shell: no operation of it destroys anything whose identity is not the recorded one."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabfile.plan import Command
from fabfile.pool.safety import gate
from fabfile.shell import quote
from tests.unit.pool.groups import empty

DEEDS = [
    gate.remove_volume("", "vg/lv", "u1"),
    gate.remove_group("", "vg", "u1"),
    gate.leave_group("", "vg", "u1", "/dev/vdb", "u2"),
    gate.forget_missing("", "vg", "u1"),
    gate.wipe("", empty()),
    gate.blank("", empty(), "as it was", "u1"),
    gate.deed("", "make_ext4", "vg/lv", "u1"),
    gate.wipe_filesystem("", "/dev/vg/lv", "u1"),
    gate.remove_file("", "/srv/pool/data", "8:1:12"),
    gate.deed("", "detach_loop", "/dev/loop7", "8:1:12"),
    gate.remove_device("", "pool", "253:7"),
]

CALLED = (
    "lvm",
    "lvremove",
    "vgremove",
    "vgreduce",
    "wipefs",
    "blkid",
    "dd",
    "mkfs.ext4",
    "rm",
    "losetup",
    "dmsetup",
    "stat",
    "udevadm",
    "lsblk",
)


def run(change: Command, directory: Path, answers: dict[str, str]) -> tuple[int, str, list[str]]:
    """Run an operation with stub programs in PATH, which print `answers` and record how they were called."""
    bin = directory / "bin"
    bin.mkdir(exist_ok=True)
    log = directory / "log"
    log.write_text("")
    for name in CALLED:
        (bin / name).write_text(f'#!/bin/sh\necho "{name} $*" >>{log}\nprintf "%s" "{answers.get(name, "")}"\n')
        (bin / name).chmod(0o755)
    inspect = "inspect() { printf '%s' 'something else'; }"
    script = f"set -eu\nPATH={bin}:$PATH\n{change.functions}\n{inspect}\n{change.script}\n"
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    return done.returncode, done.stdout + done.stderr, log.read_text().splitlines()


ASKS = re.compile(r"lvm (vgs|lvs|pvs)\b|blkid|stat|dmsetup info|losetup -n|wipefs -n|lsblk")


@pytest.mark.parametrize("change", DEEDS, ids=lambda change: change.script.split()[0])
@pytest.mark.parametrize("answer", ["", "another"])
def test_a_target_with_another_identity_is_left_alone(change: Command, answer: str, tmp_path: Path) -> None:
    code, said, called = run(change, tmp_path, dict.fromkeys(CALLED, answer))
    assert code == 1
    assert "is not the one that was recorded" in said or "has changed since it was inspected" in said
    assert [line for line in called if not ASKS.match(line)] == []


@pytest.mark.parametrize("change", DEEDS, ids=lambda change: change.script.split()[0])
def test_without_a_recorded_identity_nothing_is_done(change: Command, tmp_path: Path) -> None:
    name, *values = change.script.split()
    if name == "wipe_disk":
        return
    unknown = Command(
        "", " ".join([name, *("''" if re.fullmatch(r"u\d|\d+(:\d+)+", v) else v for v in values)]), change.functions
    )
    code, _, called = run(unknown, tmp_path, {})
    assert code == 1
    assert [line for line in called if not ASKS.match(line)] == []


def test_a_target_with_the_recorded_identity_is_removed(tmp_path: Path) -> None:
    code, said, called = run(gate.remove_volume("", "vg/lv", "u1"), tmp_path, {"lvm": "  u1"})
    assert (code, called[-1]) == (0, "lvremove -q -y -S lv_uuid=u1 vg/lv"), said
    code, said, called = run(gate.remove_device("", "pool", "253:7"), tmp_path, {"dmsetup": "253:7"})
    assert (code, called[-1]) == (0, "dmsetup remove --retry pool"), said


def test_a_real_file_is_removed_by_its_inode(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_text("")
    at = path.stat()
    change = gate.remove_file(
        "", str(path), f"{at.st_dev >> 8 & 0xFFF}:{at.st_dev & 0xFF | at.st_dev >> 12 & 0xFFF00}:{at.st_ino}"
    )
    other = tmp_path / "other"
    other.write_text("")
    other.replace(path)
    script = f"set -eu\n{change.functions}\n{change.script}"
    assert subprocess.run(["sh", "-c", script], capture_output=True, check=False).returncode == 1
    assert path.exists()
    at = path.stat()
    change = gate.remove_file(
        "", str(path), f"{at.st_dev >> 8 & 0xFFF}:{at.st_dev & 0xFF | at.st_dev >> 12 & 0xFFF00}:{at.st_ino}"
    )
    subprocess.run(["sh", "-c", f"set -eu\n{change.functions}\n{change.script}"], check=True)
    assert not path.exists()


@given(st.text(st.characters(codec="ascii", exclude_characters="\n\r\0'", exclude_categories=["Cc"]), max_size=30))
def test_what_is_recorded_is_quoted_as_the_controller_does_it(
    tmp_path_factory: pytest.TempPathFactory, value: str
) -> None:
    conf = tmp_path_factory.mktemp("record") / "pool.conf"
    conf.write_text("A=1\nLV_UUID=''\nB=2\n")
    script = f"set -eu\n{gate.functions()}\nrecord {quote(str(conf))} LV_UUID {quote(value)}"
    subprocess.run(["sh", "-c", script], check=True)
    if "\\" not in value:  # awk's own escapes: no identity has one
        assert conf.read_text() == f"A=1\nLV_UUID={quote(value)}\nB=2\n"


LVM = """# Generated by LVM2: {
contents = "Text Format Volume Group"

vg {
	id = "g-1"

	physical_volumes {

		pv0 {
			id = "p-1"
		}
	}

	logical_volumes {

		thinpool {
			id = "l-1"

			segment1 {
				type = "thin-pool"
				transaction_id = 1
				message1 {
					create = "other"
				}
			}
		}

		other {
			id = "l-2"

			segment1 {
				type = "thin"
				transaction_id = 0
				device_id = 1
			}
		}

		another {
			id = "l-3"

			segment1 {
				transaction_id = 7
				stripes = [
					"pv0", 0
				]
			}
		}
	}

}
"""


def test_lvms_record_of_a_pool_loses_thin_volumes_and_messages_and_gets_another_id() -> None:
    script = f"{gate.functions()}\nrelabelled thinpool 4 ' other'\n"
    done = subprocess.run(["sh", "-c", script], input=LVM, capture_output=True, text=True, check=True)
    want = re.sub(r"\t\t\t\tmessage1 \{.*?\}\n|\t\tother \{.*?\n\t\t\}\n", "", LVM, flags=re.DOTALL)
    assert done.stdout == want.replace("transaction_id = 1\n", "transaction_id = 4\n")
    assert "other" not in done.stdout.replace("another", "")


def begun(directory: Path, script: str) -> tuple[int, str]:
    """Run shell with the gate's functions on real files; `conf` is a pool's settings, which record nothing yet."""
    conf = directory / "conf"
    if not conf.exists():
        conf.write_text("VARIANT=loop\n")
    done = subprocess.run(
        ["sh", "-c", f"set -eu\n{gate.functions()}\nconf={conf}\ncd {directory}\n{script}"],
        capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def test_an_unfinished_file_is_known_by_its_inode(tmp_path: Path) -> None:
    assert begun(tmp_path, "begin_file $conf data.new; echo half >data.new") == (0, "")
    new = tmp_path / "data.new"
    assert f"UNFINISHED_INODES={new.stat().st_ino}\n" in (tmp_path / "conf").read_text()
    assert new.stat().st_mode & 0o777 == 0o600
    assert begun(tmp_path, "begin_file $conf data.new; [ ! -s data.new ]") == (0, "")
    assert begun(tmp_path, 'remove_ours "$(sed -n s/^UNFINISHED_INODES=//p $conf)" data.new') == (0, "")
    assert not new.exists()


def test_an_empty_file_that_a_killed_run_could_not_record_is_taken_over(tmp_path: Path) -> None:
    (tmp_path / "data.new").touch()
    assert begun(tmp_path, "begin_file $conf data.new; echo half >data.new") == (0, "")


@pytest.mark.parametrize("kind", ["file", "link", "directory"])
def test_what_somebody_else_has_under_the_name_of_an_unfinished_file_stays(tmp_path: Path, kind: str) -> None:
    other = tmp_path / "other"
    other.write_text("mine\n")
    new = tmp_path / "data.new"
    if kind == "file":
        new.write_text("mine\n")
    elif kind == "link":
        new.symlink_to(other)
    else:
        new.mkdir()
    code, said = begun(tmp_path, "begin_file $conf data.new")
    assert (code, "was not made by this tool; move it away" in said) == (1, True)
    assert begun(tmp_path, "remove_ours 12 data.new") == (0, "")
    assert new.is_dir() or new.read_text() == "mine\n"
    assert other.read_text() == "mine\n"


@pytest.mark.parametrize("end", ["", "\n"])
def test_the_last_line_of_fstab_stays_a_line_of_its_own(tmp_path: Path, end: str) -> None:
    fstab = tmp_path / "fstab"
    fstab.write_text(f"UUID=1 / ext4 defaults 0 1\nUUID=2 /srv ext4 defaults 0 2{end}")
    here = f"{gate.functions()}\nsystemctl() {{ :; }}\nadd_fstab 'UUID=3 /a ext4 nofail 0 2'"
    subprocess.run(["sh", "-euc", here.replace("/etc/fstab", str(fstab))], check=True)
    assert [line.split()[1] for line in fstab.read_text().splitlines()] == ["/", "/srv", "/a"]


LVM_STUB = r"""
lvm() {
  case $1 in
    vgcfgbackup) cp record "$4"; [ "$others" = no ] || echo 8 >seqno ;;
    vgcfgrestore) cp "$6" restored ;;
    vgs) case $* in *vg_seqno*) cat seqno ;; *) echo g-1 ;; esac ;;
    lvs) echo l-1 ;;
  esac
}
echo 7 >seqno
relabel vg g-1 thinpool l-1 0 kept
"""


@pytest.mark.parametrize("others", ["no", "yes"])
def test_a_change_of_the_group_by_others_is_not_undone(tmp_path: Path, others: str) -> None:
    (tmp_path / "record").write_text(LVM.replace('\tid = "g-1"\n', '\tid = "g-1"\n\tseqno = 7\n'))
    code, said = begun(tmp_path, f"others={others}\n{LVM_STUB}")
    assert (code, (tmp_path / "restored").exists()) == ((1, False) if others == "yes" else (0, True)), said
    assert ("found 8; it is left alone" in said) == (others == "yes")


@pytest.mark.parametrize(("told", "code"), [("echo u2", 0), ("echo u2 vg", 1), ("return 1", 1)])
def test_a_physical_volume_is_wiped_only_if_lvm_says_that_it_is_in_no_group(
    tmp_path: Path, told: str, code: int
) -> None:
    stubs = f"lvm() {{ case $* in *vg_name*) {told} ;; *) echo u2 ;; esac; }}\nblank() {{ echo blanked; }}"
    stubs += "\ninspect() { echo 'size 9'; }\nudevadm() { :; }\n"
    done, said = begun(tmp_path, f"{stubs}blank_pv /dev/vdb 'size 9' /dev/vdb 9999999 u2")
    assert (done, "blanked" in said) == (code, code == 0), said
