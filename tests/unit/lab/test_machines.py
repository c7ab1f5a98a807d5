"""Complete, incomplete and broken machines; the inventory; what a failed lab.up leaves behind."""

from __future__ import annotations

import json
import os
import tomllib
from pathlib import Path

import msgspec
import pytest
import toml
from invoke import Context

from fabfile import inventory, paths
from fabfile.errors import Failed, Refused
from fabfile.lab import demo, directory, kinds, machines, mirror, process, registry, store, throwaway, tools, vm
from fabfile.lab.vm import Vm
from tests.reference import all_tasks


def new(name: str = "lab-1", **settings: object) -> Vm:
    """Create a complete machine that does not run."""
    lab = paths.lab()
    lab.mkdir(exist_ok=True)
    (lab / directory.MARK).write_text(directory.MADE)
    (lab / name).mkdir()
    machine = Vm(lab / name, "uml", "bookworm", lab.parent / "image", 40001, kernel="7.2", host_key="ssh-ed25519 A\n")
    machine = msgspec.structs.replace(machine, **settings)
    vm.write(machine)
    return machine


BROKEN = {
    "empty": b"",
    "half": b'{"kind":"uml","suite":"bo',
    "no table": b"[]",
    "no text": b"\xff\xfe\x00",
    "too little": b'{"kind":"uml"}',
    "another type": b'{"kind":"uml","suite":"bookworm","image":7,"port":"x"}',
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_a_broken_machine_is_listed_refused_and_taken_down(content: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    whole, broken = new(), new("lab-2")
    (broken.directory / "vm.json").write_bytes(content)
    assert machines.machines() == [whole]
    throwaway.list_machines()
    first, second = capsys.readouterr().out.splitlines()
    assert first == "lab-1    stopped  127.0.0.1:40001  1536 MiB  bookworm, uml, Linux 7.2"
    assert second.startswith("lab-2    broken   lab-2 is broken: ") and "inv lab.down lab-2" in second
    with pytest.raises(Refused) as refused:
        machines.get("lab-2")
    assert refused.value.hint == "inv lab.down lab-2"
    machines.down("lab-2")
    assert not broken.directory.exists() and machines.scan() == ([whole], {})
    machines.down()
    assert not paths.lab().exists()


def test_the_registry_outlives_the_last_machine_that_is_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    machine, ended = new(), list[Path]()
    monkeypatch.setattr(registry, "stop", ended.append)
    machines.remove("lab-1")
    assert not machine.directory.exists() and ended == []
    with pytest.raises(Refused):
        machines.remove("lab-1")
    machines.down()
    assert ended == [paths.lab()]


def test_a_machine_of_an_unknown_kind_is_broken() -> None:
    new(kind="xen")
    assert machines.scan() == ([], {"lab-1": "lab-1 is broken: no kind of machine 'xen'"})
    machines.down("lab-1")


def test_a_machines_directory_is_where_it_is_found() -> None:
    machine = new()
    file = machine.directory / "vm.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "directory": "/etc"}))
    assert machines.get("lab-1") == machine


def test_a_machine_is_found_through_a_link_to_the_lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = new()
    (tmp_path / "link").symlink_to(paths.lab())
    monkeypatch.setenv("LAB_DIR", str(tmp_path / "link"))
    assert machines.get("lab-1") == machine
    machines.down()
    assert not machine.directory.parent.exists() and (tmp_path / "link").is_symlink()


def test_links_that_lead_to_each_other_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    monkeypatch.setenv("LAB_DIR", str(tmp_path / "a"))
    assert machines.scan() == ([], {})
    with pytest.raises(Refused, match="is not a lab's directory"):
        machines.down()


@pytest.mark.parametrize("whole", [True, False])
def test_the_demo_is_refused_if_there_is_a_lab(whole: bool) -> None:
    machine = new()
    if not whole:
        (machine.directory / "vm.json").unlink()
    with pytest.raises(Refused) as refused:
        demo.run_demo(Context(), "bookworm", "", keep=False)
    assert refused.value.details == f"{paths.lab()} has lab-1"


@pytest.mark.parametrize("name", ["lab-2", "../outside", "", "lab-1/own"])
def test_no_other_name_is_taken_down(name: str) -> None:
    machine = new()
    (paths.lab().parent / "outside").mkdir()
    if name:
        with pytest.raises(Refused) as refused:
            machines.down(name)
        assert refused.value.details == "there are: lab-1"
        assert machine.directory.exists()
    with pytest.raises(Refused, match="no machine"):
        machines.get(name)


def offers(monkeypatch: pytest.MonkeyPatch, error: Exception | None = None) -> None:
    def start(lab: Path, mirror: Path) -> str:
        (lab / ".registry").mkdir(exist_ok=True)
        if error:
            raise error
        return "http://10.0.2.2:15000"

    monkeypatch.setattr(mirror, "build", lambda _: Path("/a mirror"))
    monkeypatch.setattr(registry, "start", start)


def test_an_incomplete_machine_of_a_killed_up_is_removed_by_the_next_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    offers(monkeypatch)
    whole, half, broken = new(), new("lab-2"), new("lab-3")
    (half.directory / "vm.json").unlink()
    (broken.directory / "vm.json").write_bytes(b"")
    machines.offer()
    assert directory.names(paths.lab()) == ["lab-1", "lab-3"], "one that may have run is not removed unasked"
    assert whole.directory.exists()
    assert capsys.readouterr().out.splitlines()[0] == "lab-2 is incomplete: the lab.up that made it was killed"


def test_a_failure_before_the_first_machine_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    offers(monkeypatch, Failed("the lab's registry did not start"))
    with pytest.raises(Failed, match="registry"):
        machines.offer()
    assert not paths.lab().exists()


def test_without_a_kind_of_machine_nothing_is_started_and_nothing_left(monkeypatch: pytest.MonkeyPatch) -> None:
    offers(monkeypatch)

    def choose(suite: str, name: str) -> None:
        assert not list(paths.lab().iterdir())
        raise Refused("no lab machine can be started on this controller")

    monkeypatch.setattr(tools, "check", lambda: None)
    monkeypatch.setattr(kinds, "choose", choose)
    paths.lab().mkdir()
    with pytest.raises(Refused, match="no lab machine"):
        machines.up()
    assert not list(paths.lab().iterdir())


def test_a_failure_leaves_no_machine_that_was_never_started() -> None:
    old = new()
    with pytest.raises(Failed), machines._changing():
        never, begun = new("lab-2"), new("lab-3")
        process.record(begun.process, os.getpid())
        raise Failed("the port is taken")
    assert old.directory.exists() and begun.directory.exists() and not never.directory.exists()


def test_a_failure_leaves_a_lab_in_use_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    offers(monkeypatch)
    machines.offer()
    offers(monkeypatch, Failed("the lab's registry did not start"))
    with pytest.raises(Failed, match="registry"):
        machines.offer()
    assert (paths.lab() / ".registry").exists() and (paths.lab() / "hosts.toml").exists()


@pytest.mark.parametrize("left", ["", "[defaults", "[other]\n", "defaults = 3\n"])
def test_a_damaged_inventory_is_replaced(monkeypatch: pytest.MonkeyPatch, left: str) -> None:
    offers(monkeypatch)
    new()
    (paths.lab() / "hosts.toml").write_text(left)
    machines.offer()
    assert tomllib.loads((paths.lab() / "hosts.toml").read_text())["hosts"]["lab-1"]["port"] == 40001


def test_settings_added_to_the_defaults_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    offers(monkeypatch)
    new()
    (paths.lab() / "hosts.toml").write_text('[defaults]\nuser = "x"\n[defaults.pool]\ndevices = ["/dev/vdb"]\n')
    machines.offer()
    defaults = tomllib.loads((paths.lab() / "hosts.toml").read_text())["defaults"]
    assert defaults["user"] == "root" and defaults["pool"] == {"devices": ["/dev/vdb"]}


@pytest.mark.parametrize(
    "name", ["a b", "q\"uo'te", "é☃𝄞", "b\\x1", "${HOME} %h", "#;&", "new\nline", "del\x7f", '"""']
)
def test_the_inventory_is_read_whatever_the_lab_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("LAB_DIR", str(tmp_path / name))
    offers(monkeypatch)
    new()
    machines.offer()
    monkeypatch.setenv("HOSTS_FILE", str(paths.lab() / "hosts.toml"))
    host = inventory.load().hosts["lab-1"]
    assert host.identity_file == str(tmp_path / name / "id_ed25519")
    assert toml.loads((paths.lab() / "hosts.toml").read_text())["defaults"]["known_hosts"] == host.known_hosts


def image(machine: Vm) -> str:
    """Make the image of a machine like a store, and return its identity."""

    def make(part: Path, log: Path) -> None:
        (part / "root.img").write_text("root")

    store.find(machine.image, make)
    return store.identity(machine.image)


@pytest.mark.parametrize("again", [False, True])
def test_a_machine_is_not_started_on_another_build_of_its_image(monkeypatch: pytest.MonkeyPatch, again: bool) -> None:
    machine = new()
    machine = msgspec.structs.replace(machine, image_id=image(machine))
    (machine.image / "root.img").unlink()
    if again:
        image(machine)
    with pytest.raises(Failed) as failed:
        machines.restart(machine)
    assert failed.value.what == "the image of lab-1 is gone, and its disk cannot be used without it"
    assert failed.value.details.endswith("was made anew" if again else "was removed")
    assert failed.value.hint == "inv lab.down lab-1"


def test_all_machines_of_a_failed_start_are_ended_even_if_one_does_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = []

    def end(file: Path, sign: int) -> None:
        ended.append(file.parent.name)
        raise Failed(f"{file} does not end")

    monkeypatch.setattr(process, "end", end)
    with pytest.raises(Failed, match="does not end"), machines._ended_on_failure([new(), new("lab-2")]):
        raise OSError
    assert sorted(ended) == ["lab-1", "lab-2"]


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("inv lab.down lab-1", True),
        ("inv --dry lab.down lab-12", True),
        ("inv lab.down", False),
        ("inv lab.down --name lab-1", False),
        ("inv lab.down lab.list", False),
        ("inv lab.shell lab-1", False),
    ],
)
def test_down_takes_a_name(words: str, named: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", words.split())
    (name,) = [each for each in all_tasks()["lab.down"].get_arguments() if each.name == "name"]
    assert name.positional == named


def test_the_ssh_command_contains_no_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_DIR", str(tmp_path / "a b%h"))
    command = new().ssh("true")
    assert command[:3] == ["env", f"--chdir={tmp_path / 'a b%h'}", "ssh"]
    assert not any(os.sep in word for word in command[3:])


@pytest.mark.parametrize(
    ("user", "name", "hint"),
    [
        (0, "in this container", "run the container with --privileged"),
        (1, "as daemon", "sudo ./bootstrap inv lab.up"),
        (4_000_000, "as 4000000", "sudo ./bootstrap inv lab.up"),
    ],
)
def test_a_user_who_cannot_mount_is_told_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, user: int, name: str, hint: str
) -> None:
    def fails(*command: str, before: tuple[str, ...]) -> str:
        assert before == (*(tools.USER_NAMESPACE if user else ()), *tools.PRIVATE_MOUNTS), command
        raise Failed("unshare failed", "newuidmap: Permission denied")

    monkeypatch.setattr("os.geteuid", lambda: user)
    monkeypatch.setattr(tools, "run", fails)
    monkeypatch.setattr(tools, "which", lambda program: program)
    with pytest.raises(Refused, match=f"the lab cannot make images {name}") as refused:
        machines.up()
    assert "newuidmap: Permission denied" in refused.value.details
    assert refused.value.hint == hint


def test_a_lab_whose_path_is_no_text_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_DIR", os.fsdecode(b"/tmp/\xff"))
    with pytest.raises(Refused, match="LAB_DIR is not UTF-8"):
        machines.up()
