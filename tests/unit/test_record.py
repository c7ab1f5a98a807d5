"""Records of each version are parsed; a damaged one is one error that names the file.

tests/unit/records/NAME.conf is what that version's template contains; NAME.json is its meaning.
"""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabfile import keyvalue
from fabfile.errors import Failed
from fabfile.facts import record
from fabfile.facts.record import LoopRecord, LvmRecord, Record
from tests.unit.damage import damaged

FILES = sorted((Path(__file__).parent / "records").glob("*.conf"))
TEXTS = {file.stem: file.read_text() for file in FILES}
CONF = record.conf("p")
LONGEST = 4000
"""Limit for the characters of an error."""


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_what_each_version_wrote_is_understood(file: Path) -> None:
    found = record.parse(CONF, file.read_text())
    assert isinstance(found, LvmRecord if file.stem.startswith("direct") else LoopRecord)
    assert msgspec.json.decode(msgspec.json.encode(found)) == json.loads(file.with_suffix(".json").read_text())


@pytest.mark.parametrize(("last", "kind"), [("loop-6", LoopRecord), ("direct-3", LvmRecord)])
def test_a_record_has_a_field_for_every_line_that_this_version_writes(last: str, kind: type[Record]) -> None:
    keys = {field.encode_name for field in msgspec.structs.fields(kind)} | {"VARIANT"}
    assert set(keyvalue.settings(TEXTS[last])) == keys


@pytest.mark.parametrize(
    ("name", "old", "new", "says"),
    [
        ("loop-5", "VARIANT=loop", "VARIANT=zfs", "VARIANT is 'zfs'"),
        ("loop-5", "DATA=/srv/pool/data", "DATA=", "DATA is missing"),
        ("loop-5", "META=/srv/pool/meta", "META=meta", "META is no absolute path: 'meta'"),
        ("loop-5", "INSTANCE=two", "INSTANCE='x;reboot'", "INSTANCE is no instance's name: 'x;reboot'"),
        ("direct-3", "INSTANCE=two", "INSTANCE=config", "INSTANCE is no instance's name: 'config'"),
        ("loop-5", "MAKING=no", "MAKING=perhaps", "MAKING is neither yes nor no: 'perhaps'"),
        ("loop-5", "MAKING=no", "MAKING=", "MAKING is neither yes nor no: ''"),
        ("loop-5", "DIR_MADE=yes", "DIR_MADE=true", "DIR_MADE is neither yes nor no: 'true'"),
        ("loop-5", "THRESHOLD=80", "THRESHOLD=80%", "THRESHOLD is no number: '80%'"),
        ("loop-5", "WHEN_FULL=queue", "WHEN_FULL=wait", "WHEN_FULL is none of queue, error: 'wait'"),
        ("loop-5", "BLOCK_SECTORS=128", "BLOCK_SECTORS=00", "BLOCK_SECTORS is 0"),
        ("direct-1", "CHUNK_BYTES=524288", "CHUNK_BYTES=0", "CHUNK_BYTES is 0"),
        ("loop-5", "BLOCK_SECTORS=128", "BLOCK_SECTORS='1 2'", "BLOCK_SECTORS is no number: '1 2'"),
        ("loop-5", "ASKED_META_BYTES=", "ASKED_META=", "ASKED_META_BYTES is missing"),
        ("loop-1", "META_BYTES=78643200", "", "META_BYTES is missing"),
        ("loop-1", "DATA_SECTORS=209715200", "DATA_SECTORS=-1", "DATA_SECTORS is no number: '-1'"),
        ("direct-1", "CHUNK_BYTES=524288", "", "CHUNK_BYTES is missing"),
        ("direct-3", "OWN_GROUP=no", "OWN_GROUP=", "OWN_GROUP is neither yes nor no"),
        ("direct-3", "ASKED_BYTES=32212254720", "ASKED_BYTES=30G", "ASKED_BYTES is no number: '30G'"),
        ("direct-3", "CHUNK_BYTES=524288", "CHUNK_BYTES=" + "9" * 5_000_000, "CHUNK_BYTES is no number"),
        ("direct-3", "VG=containerd", "VG=", "VG is missing"),
    ],
)
def test_one_that_cannot_be_understood_is_an_error_that_names_the_file_and_the_key(
    name: str, old: str, new: str, says: str
) -> None:
    text = TEXTS[name].replace(f"\n{old}", f"\n{new}", 1)
    assert text != TEXTS[name]
    with pytest.raises(Failed, match=f"the record {CONF} is damaged") as failed:
        record.parse(CONF, text)
    assert says in failed.value.details
    assert len(str(failed.value)) < LONGEST


@given(damaged(list(TEXTS.values())))
def test_any_damage_is_a_record_or_one_error(text: str) -> None:
    try:
        found = record.parse(CONF, text)
    except Failed as failed:
        assert failed.what == f"the record {CONF} is damaged"
        assert len(str(failed)) < LONGEST
    else:
        assert record.differences(found, found) == []


@given(st.sampled_from(FILES), st.sampled_from(FILES))
def test_differences_are_named_by_their_settings_or_by_the_variant_alone(one: Path, other: Path) -> None:
    has, wants = (record.parse(CONF, file.read_text()) for file in (one, other))
    lines = record.differences(has, wants)
    assert (lines == []) == (has == wants)
    if type(has) is not type(wants):
        assert [line.partition(":")[0] for line in lines] == ["variant"]


def test_the_directory_of_its_files() -> None:
    assert record.parse(CONF, TEXTS["loop-4"]).files_dir == "/srv/a pool"
    found = record.parse(CONF, TEXTS["direct-1"])
    assert (found.files_dir, found.dir) == ("", "/var/lib/containerd/devmapper")
