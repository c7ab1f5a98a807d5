"""Templates: nothing missing becomes an empty string, what goes into shell is quoted, and names lead nowhere else."""

from __future__ import annotations

import shlex
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import TemplateNotFound, UndefinedError

from fabfile import keyvalue, render
from fabfile.plan import File
from fabfile.pool.loop import files, spec
from tests.shell_examples import shell_examples
from tests.unit.pool import loops
from tests.unit.steps.conftest import having

settings_text = st.text(
    st.characters(min_codepoint=32, max_codepoint=0x2FFF, exclude_characters="\x7f\x85\u2028\u2029")
)


def test_a_missing_value_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="'dir' is undefined"):
        render.render("pool/devmapper-pool.service.j2", name="p", script="/s", before="b", after="")


def test_an_unknown_template_is_an_error() -> None:
    with pytest.raises(TemplateNotFound):
        render.render("../releases.toml")


@given(settings_text)
def test_the_filter_sh_is_what_a_shell_reads_back(value: str) -> None:
    text = render.render(
        "pool/pool.conf.j2", name="p", record=msgspec.structs.replace(loops.record(), data=value), known={}
    )
    line = next(line for line in text.split("\n") if line.startswith("DATA="))
    assert shlex.split(line) == [f"DATA={value}"]


def test_templates_end_with_one_newline_and_hold_no_markup() -> None:
    for name, text in shell_examples().items():
        if name.startswith("lab-mirror"):
            continue  # it has Go's own templates in it
        assert "{{" not in text, name
        assert "{%" not in text, name
    service = render.render(
        "pool/devmapper-pool.service.j2", name="p", dir="/d", mount="", script="/s", before="b", after=""
    )
    assert service.endswith("\n")
    assert not service.endswith("\n\n")


def test_every_template_is_found_under_templates() -> None:
    found = {str(path.relative_to(render.TEMPLATES)) for path in Path(render.TEMPLATES).rglob("*.j2")}
    assert {"pool/devmapper-pool.sh.j2", "pool/pool.conf.j2", "containerd/containerd.service.j2"} <= found


def test_the_settings_of_a_pool_are_read_back_as_written() -> None:
    want = spec.wanted(name="p", dir="/srv/p", size="100G", meta_size="", block_size="64K")
    (change,) = files.conf_change(having(), want)
    assert isinstance(change, File)
    assert keyvalue.settings(change.content) == {
        "DATA": "/srv/p/data",
        "META": "/srv/p/meta",
        "VARIANT": "loop",
        "BLOCK_SECTORS": "128",
        "ASKED_BYTES": str(100 << 30),
        "ASKED_META_BYTES": str(75 << 20),
        "WHEN_FULL": "queue",
        "THRESHOLD": "80",
        "PERCENT": "20",
        "MAX_BYTES": "0",
        "DIR_MADE": "no",
        "MAKING": "yes",
    }


def test_the_unit_comes_before_containerd_and_after_its_mount() -> None:
    lines = render.render(
        "pool/devmapper-pool.service.j2",
        name="p",
        dir="/srv/p",
        mount="",
        script="/s",
        before="containerd.service",
        after="",
    ).splitlines()
    assert {"Before=containerd.service", "RequiresMountsFor=/srv/p", "Type=oneshot", "RemainAfterExit=yes"} <= set(
        lines
    )
