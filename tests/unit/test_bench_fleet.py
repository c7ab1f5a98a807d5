"""What bench.fleet makes of its figures: no process, nothing drawn."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench._run import write_csv
from bench.fleet import figures, goals
from bench.fleet.clock import Cost
from bench.fleet.extras import KNOWN, KNOWN_HASHED, KNOWN_LONG, WAIT
from bench.fleet.figures import Row
from bench.fleet.goals import Goal
from bench.fleet.targets import Fleet
from bench.fleet.tools import ANSIBLE, CHECKS, COMMAND, DEPLOY, OPENSSH, OURS, PARALLEL_SSH, PYINFRA, WAYS


def runs(job: str, tool: str, hosts: int, *costs: tuple[float, float, float]) -> list[Row]:
    return [row for number, cost in enumerate(costs, 1) for row in figures.rows(number, job, tool, hosts, Cost(*cost))]


def found(of: list[Row]) -> dict[str, Goal]:
    return {goal.what: goal for goal in goals.goals(of)}


def test_the_csv_file_has_a_header_and_a_line_for_each_figure(tmp_path: Path) -> None:
    rows = runs(COMMAND, OURS, 8, (1.5, 0.25, 40))
    write_csv(tmp_path / "figures.csv", Row._fields, rows)
    assert (tmp_path / "figures.csv").read_text() == (
        "round,job,tool,size,measure,unit,value\n1,command,fab,8,wall,s,1.500\n1,command,fab,8,cpu,s,0.250\n"
        "1,command,fab,8,memory,MiB,40.000\n1,command,fab,8,hosts,s,0.000\n"
    )


def test_each_figure_is_divided_by_the_other_one_s_of_its_own_round() -> None:
    rows = runs(CHECKS, OURS, 8, (1, 1, 1), (20, 1, 1), (90, 1, 1))
    rows += runs(CHECKS, PYINFRA, 8, (2, 1, 1), (10, 1, 1), (100, 1, 1))
    assert figures.ratio(rows, (CHECKS, OURS), (CHECKS, PYINFRA), 8, "wall") == pytest.approx(0.9)
    assert figures.ratio(rows, (CHECKS, OURS), (CHECKS, ANSIBLE), 8, "wall") is None


def test_the_table_has_medians_and_leaves_out_what_was_not_measured() -> None:
    rows = runs(CHECKS, OURS, 1, (3, 1, 1), (1, 3, 1), (2, 2, 1)) + runs(COMMAND, OPENSSH, 8, (1, 0.5, 1))
    table = figures.table(rows + runs(WAIT, OURS, 32, (20, 1, 1)))
    assert table.splitlines()[0] == "| wall s / controller CPU s | 1 host | 8 hosts |"
    assert "| fab, checks | 2.00 / 2.00 |  |" in table
    assert "| OpenSSH, command |  | 1.00 / 0.50 |" in table


def test_peers_are_goals_by_wall_and_by_cpu_from_some_size_on() -> None:
    rows = []
    for hosts in (8, 32):
        rows += runs(CHECKS, OURS, hosts, (4, 1, 40)) + runs(CHECKS, PYINFRA, hosts, (5, 1, 80))
        rows += runs(COMMAND, PARALLEL_SSH, hosts, (2, 1, 30)) + runs(CHECKS, ANSIBLE, hosts, (40, 9, 30))
    of = found(rows)
    assert of["checks, 8 hosts, wall: times pyinfra"] == Goal("checks, 8 hosts, wall: times pyinfra", 0.8, 0.8)
    assert of["checks, 8 hosts, wall: times pyinfra"].reached
    assert not of["checks, 8 hosts, cpu: times pyinfra"].reached
    assert of["checks, 32 hosts, wall: times Ansible"].found == pytest.approx(0.1)
    assert "checks, 8 hosts, wall: times parallel-ssh's bare command" not in of
    assert not of["checks, 32 hosts, wall: times parallel-ssh's bare command"].reached


def test_growth_is_what_a_host_more_costs() -> None:
    rows = runs(CHECKS, OURS, 1, (1, 9, 10)) + runs(CHECKS, OURS, 8, (1, 1, 40))
    rows += runs(CHECKS, OURS, 32, (1, 1.24, 52)) + runs(CHECKS, OURS, 128, (1, 3.16, 100))
    of = found(rows)
    assert of["CPU for each further host, up to 128 hosts: compared with the range before"].found == pytest.approx(2)
    assert of["memory for each further host, 8 to 128 hosts"].found == pytest.approx(0.5)


def test_ours_alone_is_compared_with_itself() -> None:
    rows = runs(WAIT, OURS, 32, (21, 0.4, 1)) + runs(KNOWN, OURS, 32, (1, 1, 1))
    rows += runs(KNOWN_LONG, OURS, 32, (1.25, 1, 1)) + runs(KNOWN_HASHED, OURS, 32, (3, 1, 1))
    reached = [goal.reached for goal in goals.goals(rows)]
    assert reached == [True, True, False]
    assert "| 2.00 s | 0.5 s | **missed** |" in goals.table(goals.goals(rows))


def test_all_inventories_name_the_same_hosts(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path, range(2201, 2204))
    assert fleet.hosts(2) == [("h0", 2201), ("h1", 2202)]
    for file in (fleet.toml(2, 16), fleet.pyinfra(2), fleet.ansible(2)):
        text = file.read_text()
        assert "h1" in text and "2202" in text and "2203" not in text
    assert "Host h2\n  Port 2203\n" in fleet.ssh_config().read_text()
    assert "parallel = 16\n" in fleet.toml(2, 16).read_text()


def test_every_job_is_done_by_ours() -> None:
    assert {way.job for way in WAYS} == {way.job for way in WAYS if way.tool == OURS} == {COMMAND, CHECKS, DEPLOY}
