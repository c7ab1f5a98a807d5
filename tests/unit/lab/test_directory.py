"""What lab.down may remove: what has our mark, and in that what the lab makes, by name."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fabfile import paths
from fabfile.errors import Refused
from fabfile.lab import directory, machines
from fabfile.lab.directory import MARK

OWN = ("id_ed25519", "id_ed25519.pub", "hosts.toml", "known_hosts", ".hosts.toml.new", ".id_ed25519.new.pub")


def lab_with(lab: Path, *names: str) -> Path:
    """Create a lab with files of these names."""
    lab.mkdir(parents=True)
    (lab / MARK).write_text(directory.MADE)
    for name in names:
        (lab / name).write_text("")
    return lab


def listing(place: Path) -> dict[str, bytes | None]:
    return {str(file.relative_to(place)): file.read_bytes() if file.is_file() else None for file in place.rglob("*")}


@pytest.mark.parametrize("name", [".lock", "thesis.tex", MARK])
@pytest.mark.parametrize("act", ["down", "offer"])
def test_another_users_directory_is_refused_and_left_alone(name: str, act: str) -> None:
    lab = paths.lab()
    (lab / "lab-1").mkdir(parents=True)
    (lab / "lab-1" / "vm.json").write_text("{}")
    (lab / name).write_text("mine")
    before = listing(lab)
    with pytest.raises(Refused, match="is not a lab's directory"):
        getattr(machines, act)()
    assert listing(lab) == before


def test_a_file_in_the_place_of_a_lab_is_refused() -> None:
    paths.lab().write_text("mine")
    with pytest.raises(Refused, match="is not a lab's directory"):
        machines.down()
    assert paths.lab().read_text() == "mine"


@pytest.mark.parametrize("exists", [False, True])
def test_down_without_a_lab_is_reported(exists: bool, capsys: pytest.CaptureFixture[str]) -> None:
    if exists:
        paths.lab().mkdir()
    machines.down()
    assert capsys.readouterr().out == f"there is no lab in {paths.lab()}\n"
    assert paths.lab().exists() == exists


@pytest.mark.parametrize("exists", [False, True])
def test_only_a_directory_that_we_created_is_removed_with_the_lab(tmp_path: Path, exists: bool) -> None:
    lab = tmp_path / "deep" / "lab"
    if exists:
        lab.mkdir(parents=True)
    with directory.locked(lab):
        assert directory.is_lab(lab) and (lab / MARK).stat().st_mode & 0o777 == 0o600
    assert lab.exists() == exists
    assert not exists or not list(lab.iterdir())


def test_a_directory_that_others_may_write_to_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    lab = lab_with(paths.lab(), "hosts.toml")
    lab.chmod(0o775)
    with pytest.raises(Refused) as refused:
        machines.down()
    assert refused.value.what == f"others may write to {lab}" and refused.value.hint == f"chmod go-w {lab}"
    lab.chmod(0o755)
    monkeypatch.setattr("os.geteuid", lambda: lab.stat().st_uid + 1)
    with pytest.raises(Refused, match=f"{lab} belongs to user"):
        machines.down()
    assert (lab / "hosts.toml").exists()


@pytest.mark.parametrize("half", ["", directory.TEXT[:10]])
def test_a_mark_that_was_left_half_written_in_an_empty_directory_is_completed(tmp_path: Path, half: str) -> None:
    lab = tmp_path / "lab"
    lab.mkdir()
    (lab / MARK).write_text(half)
    assert not directory.check(lab)
    with directory.locked(lab):
        assert directory.is_lab(lab)


def test_a_file_with_only_the_name_of_the_mark_is_no_mark(tmp_path: Path) -> None:
    lab = tmp_path / "lab"
    lab.mkdir()
    (lab / MARK).write_text("mine")
    with pytest.raises(Refused, match="is not a lab's directory"), directory.locked(lab):
        pytest.fail("it was taken")
    assert (lab / MARK).read_text() == "mine"


def test_a_link_in_the_place_of_the_mark_is_not_followed(tmp_path: Path) -> None:
    precious, lab = tmp_path / "precious", tmp_path / "lab"
    precious.write_text("mine")
    lab.mkdir()
    (lab / MARK).symlink_to(precious)
    with pytest.raises(Refused, match="is not a lab's directory"), directory.locked(lab):
        pytest.fail("it was taken")
    assert precious.read_text() == "mine"


def test_the_lab_is_removed_and_other_files_stay_and_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    lab = lab_with(paths.lab(), *OWN, "notes", "lab-1.bak", "lab-0")
    outside = lab.parent / "outside"
    outside.mkdir()
    (outside / "vm.json").write_text("mine")
    for name in ("lab-2", ".registry", "hosts.toml"):
        (lab / name).unlink(missing_ok=True)
        (lab / name).symlink_to(outside)
    for name in ("lab-1", "lab-12", "lab-x", "lab-01"):
        (lab / name / "own").mkdir(parents=True)
    machines.down()
    stays = [".registry", "hosts.toml", "lab-0", "lab-01", "lab-1.bak", "lab-2", "lab-x", "notes"]
    assert sorted(path.name for path in lab.iterdir()) == sorted([MARK, *stays])
    assert (outside / "vm.json").read_text() == "mine"
    assert capsys.readouterr().out.splitlines() == [
        "lab-1: gone",
        "lab-12: gone",
        f"{lab} stays, because it holds files that the lab did not make: {', '.join(stays)}",
    ]


def test_the_directory_is_removed_if_nothing_else_is_in_it() -> None:
    lab = lab_with(paths.lab(), *OWN)
    (lab / ".registry" / "storage").mkdir(parents=True)
    machines.down()
    assert not lab.exists()


@settings(max_examples=30)
@given(st.sets(st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=20)))
def test_no_other_name_is_ever_removed(tmp_path_factory: pytest.TempPathFactory, names: set[str]) -> None:
    lab = tmp_path_factory.mktemp("any") / "lab"
    names -= {".", "..", *OWN, MARK}
    usable = [name for name in names if len(name.encode()) < 256]
    lab_with(lab, *usable)
    directory.clear(lab)
    assert {path.name for path in lab.iterdir()} == {MARK, *usable}
