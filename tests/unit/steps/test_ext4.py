"""The file systems that containerd makes on thin devices."""

from __future__ import annotations

import pytest

from fabfile.facts import pool as facts
from fabfile.facts.pool import Table
from fabfile.facts.userland import Userland
from fabfile.host import Pool
from fabfile.steps import ext4
from tests.unit.steps.conftest import having


@pytest.mark.parametrize(
    ("version", "knows"),
    [("1.5.18", False), ("1.6.0", True), ("1.10.0", True), ("2.3.4", True), ("master-2020-04-09", False)],
)
def test_zeros_are_not_written_twice_where_containerd_can_be_told(version: str, knows: bool) -> None:
    have = having(userland=Userland(prezeroed=True))
    assert ext4.options(have, Pool(), version) == (ext4.ZEROED if knows else "")


def test_zeros_are_written_if_mke2fs_lacks_the_option_or_the_pool_does_not_zero() -> None:
    assert ext4.options(having(needs=frozenset()), Pool(), "2.3.4") == ""
    assert ext4.options(having(userland=Userland(prezeroed=True)), Pool(variant="direct"), "2.3.4") == ""
    table = Table("thin-pool", 2097152, features=("skip_block_zeroing",))
    adopted = having(userland=Userland(prezeroed=True), pool=facts.Pool(table=table))
    assert ext4.options(adopted, Pool(), "2.3.4") == "", "an adopted pool keeps its table until the next boot"


DEBIANS = """[defaults]
\tbase_features = sparse_super,large_file
\tdefault_mntopts = acl,user_xattr

[fs_types]
\text4 = {
\t\tfeatures = has_journal,extent
\t}
"""


@pytest.mark.parametrize("text", [DEBIANS, "# mine\n" + DEBIANS, DEBIANS.partition("\n\n")[2], ""])
def test_file_systems_stop_at_their_first_error(text: str) -> None:
    made = ext4.stopping_at_errors(text)
    assert "[defaults]\n\terrors = remount-ro\n" in made
    assert made.count("[defaults]") == 1
    for line in text.splitlines():
        assert line in made.splitlines()
    assert ext4.stopping_at_errors(made) == made


def test_the_machines_own_errors_setting_is_kept() -> None:
    mine = DEBIANS.replace("\tbase", "\terrors = panic\n\tbase")
    assert ext4.stopping_at_errors(mine) == mine
    elsewhere = DEBIANS + "[other]\n\terrors = panic\n"
    assert "remount-ro" in ext4.stopping_at_errors(elsewhere)
