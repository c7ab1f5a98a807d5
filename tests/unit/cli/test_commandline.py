"""A mistake on the command line is refused with 2, by its name, with the nearest that is right; no value is lost."""

from __future__ import annotations

import copy
import importlib
import json
import shlex
import sys
from collections.abc import Callable
from typing import Any

import invoke
import pytest
from fabric.main import Fab
from hypothesis import given
from hypothesis import strategies as st
from invoke import Context, Program
from invoke.exceptions import Exit, ParseError
from invoke.parser import Parser, ParserContext

import fabfile
import programs
import tasks
from fabfile import paths
from fabfile.cli import commandline
from fabfile.cli.line import Line
from fabfile.cli.task import Task
from fabfile.errors import Interrupted, Refused
from tests.reference import all_tasks


def check(line: str) -> None:
    """Look at a command line as inv or fab would."""
    words = shlex.split(line)
    fab = words[0] == "fab"
    program = Fab(name="Fabric") if fab else Program(name="Invoke")
    program.parse_core(words)
    commandline.check(program, fabfile.ns if fab else tasks.ns)


WRONG = {
    "inv deplooy": ("no task 'deplooy'", "did you mean inv deploy?"),
    "inv loop": ("no task 'loop'", "did you mean inv pool.loop?"),
    "inv status doctr": ("no task 'doctr'", "did you mean inv doctor?"),
    "inv pool": ("'pool' is a namespace of tasks", "inv --list pool"),
    "inv --help runs": ("'runs' is a namespace of tasks", "inv --list runs"),
    "fab -H a pool": ("'pool' is a namespace of tasks", "fab --list pool"),
    "fab -H a runs": ("'runs' is a namespace of tasks", "inv --list runs"),
    "inv xyzzy": ("no task 'xyzzy'", "all tasks: inv --list"),
    "fab -H a deplooy": ("no task 'deplooy'", "did you mean fab -H HOSTS deploy?"),
    "fab -H a lab.up": ("lab.up is a task of inv", "see inv --help lab.up"),
    "fab -H a ssh.trust a": ("ssh.trust is a task of inv", "see inv --help ssh.trust"),
    "fab runs.list": ("runs.list is a task of inv", "see inv --help runs.list"),
    "inv deploy --relese 2.3": ("deploy has no option '--relese'", "did you mean --release? see inv --help deploy"),
    "inv pool.loop -s 1G": ("pool.loop has no option '-s'", "see inv --help pool.loop"),
    "inv pool.reset -ny": ("pool.reset has no option '-n'", "see inv --help pool.reset"),
    "inv --junit /proc/x/y deploy": ("--junit: cannot write /proc/x/y", ""),
    "inv --events ~nouser/x deploy": ("--events: cannot write ~nouser/x", ""),
    "fab -H a --junit ~nouser/x deploy": ("--junit: cannot write ~nouser/x", ""),
    "inv deploy --events -": ("--events: - is not a file", "./-"),
    "fab -H a --junit - deploy": ("--junit: - is not a file", "./-"),
    "fab -H a -S ~nouser/x deploy": ("cannot read ~nouser/x", "--ssh-config"),
    "inv -f /dev/null deploy": ("--config is not supported", ""),
    "inv deploy -c tasks": ("--collection is not supported", ""),
    "inv --nope deploy": ("no option '--nope'", "--no-dedupe"),
    "fab -H a --json status": ("--json is an option of a task", "fab -H a status --json"),
    "fab -H a --until runc.install --dry deploy --json": ("--until is an option of a task",
                                                          "fab -H a --dry deploy --json --until runc.install"),
    "inv --json status doctor": ("--json is an option of a task", "see inv --help status"),
    "inv --json run": ("--json is an option of a task", "see inv --help run"),
    "inv --release=2.3 deploy": ("--release is an option of a task", "inv deploy --release 2.3"),
    "fab -H a --release 2.3 status": ("no option '--release'", ""),
    "inv deploy --release": ("--release needs a value", "see inv --help deploy"),
    "inv deploy --release --mirror /m": ("--release needs a value", ""),
    "inv pool.loop --size 1G --size 2G": ("--size is given twice", ""),
    "inv pool.reset --yes=no": ("--yes takes no value", ""),
    "inv pool.reset --yes no": ("no task 'no'", ""),
    "inv run": ("run needs --command", "see inv --help run"),
    "inv run --dry": ("--command: '--dry' is an option", ""),
    "inv lab.shell --json": ("--name: '--json' is an option", ""),
    "fab -H deploy": ("no task is given", "fab -H hosts deploy"),
    "fab -H hosts": ("no task is given", "all tasks: fab --list"),
    "fab -H a -H b deploy": ("-H is given twice", ""),
    "inv --dry": ("no task is given", ""),
    "inv --help deplooy": ("no task 'deplooy'", "did you mean inv deploy?"),
    "fab -H a run ls -l": ("--list is given after a task", "fab -H a run --command 'ls -l'"),
    "fab -H a run ls -la --json": ("--list is given after a task", "fab -H a run --command 'ls -la' --json"),
    "fab -H a --dry run --command df -h": ("--help is given after a task", "fab -H a --dry run --command 'df -h'"),
    "inv run ls --help": ("--help is given after a task", "inv run --command 'ls --help'"),
    "inv run uname -a": ("run has no option '-a'", "inv run --command 'uname -a'"),
    "inv run cat '/etc/a b'": ("no task '/etc/a b'", """inv run --command 'cat '"'"'/etc/a b'"'"''"""),
    "inv run true doctr": ("no task 'doctr'", "did you mean inv doctor?"),
    "inv deploy -l": ("--list is given after a task", "inv --list"),
    "fab -H a deploy --version": ("--version is given after a task", "fab --version"),
    "inv ssh.trust web1 --help": ("--help is given after a task", "inv --help ssh.trust"),
    "fab --list pol": ("no namespace 'pol'", "did you mean pool?"),
    "fab --list xyzzy": ("no namespace 'xyzzy'", "fab --list"),
    "inv --list pol": ("no namespace 'pol'", "did you mean pool?"),
    "inv --list --list-format xml": ("--list-format: 'xml' is not possible", ""),
    "inv deploy --command-timeout soon": ("--command-timeout: 'soon' is not a whole number", ""),
    "inv --sudo-password-file deploy": ("no task is given", ""),
    "inv --sudo-password-fil x deploy": ("no option '--sudo-password-fil'", "--sudo-password-file"),
    "inv pool.loop --threshold 80%": ("--threshold: '80%' is not a whole number", "--threshold 80"),
    "inv pool.loop --threshold 0": ("--threshold: 0 is out of range", "--threshold 80"),
    "inv pool.loop --percent 0": ("--percent: 0 is out of range", ""),
    "inv pool.direct --data-percent 101": ("--data-percent: 101 is out of range", ""),
    "inv pool.loop --when-full wait": ("--when-full: 'wait' is not possible", "--when-full queue"),
    "inv deploy --variant lvm": ("--variant: 'lvm' is not possible", ""),
    "inv containerd.build --on mars": ("--on: 'mars' is not possible", "--on controller"),
    "inv lab.up --memory 2G": ("--memory: '2G' is not a whole number", ""),
    "inv pool.backup --keep 0": ("--keep: 0 is out of range", ""),
    "inv pool.kept --keep=-1": ("--keep: -1 is out of range", ""),
    "inv pool.loop --size 100GB": ("--size: '100GB' has a decimal unit", "--size 100GiB"),
    "inv pool.grow --meta-size 1X": ("--meta-size: '1X' is not a size", "--meta-size 100G"),
    "inv pool.reset --name '' --yes": ("--name: an empty value", ""),
    "inv deploy --mirror ' '": ("--mirror: an empty value", ""),
    "inv pool.direct --device ''": ("--device: an empty value", ""),
    "fab -H a --parallel 0 deploy": ("--parallel: 0 is out of range", "--parallel 1"),
    "fab -H a --parallel 1025 deploy": ("--parallel: 1025 is out of range", ""),
    "fab -H a --parallel many deploy": ("--parallel: 'many' is not a whole number", "--parallel 1"),
    "fab -H a --batches 0 deploy": ("--batches: '0' is out of range", "--batches 1,5,20%"),
    "fab -H a --batches 1,101% deploy": ("--batches: '101%' is out of range", "--batches 1,5,20%"),
    "fab -H a --batches 5,, deploy": ("--batches: '' is neither a number nor a percentage", "--batches 1,5,20%"),
    "fab -H a deploy --batches some": ("--batches: 'some' is neither a number nor a percentage", "--batches 1,5,20%"),
    "fab -H a --batches '' deploy": ("--batches: an empty value", ""),
    "fab -H '' deploy": ("--hosts: an empty value", "see fab --help"),
    "fab -H , --retry-from last deploy": ("--hosts: an empty value", ""),
    "fab -H a --limit '' deploy": ("--limit: an empty value", "see fab --help"),
    "fab -H a deploy --limit= --json": ("--limit: an empty value", ""),
    "fab -H a --exclude ' , ' deploy": ("--exclude: an empty value", ""),
    "fab -H a --retry-from '' deploy": ("--retry-from: an empty value", ""),
    "fab -H a -S '' deploy": ("--ssh-config: an empty value", ""),
    "fab -H a -i '' deploy": ("--identity: an empty value", ""),
    "fab -H a --events '' deploy": ("--events: an empty value", ""),
    "inv --junit '' deploy": ("--junit: an empty value", "see inv --help"),
    "inv deploy --sudo-password-file ''": ("--sudo-password-file: an empty value", ""),
    "inv --sudo-password-command ' ' deploy": ("--sudo-password-command: an empty value", ""),
    "fab -H a -t 0 deploy": ("--connect-timeout: 0 is out of range", "--connect-timeout 20"),
    "fab -H a deploy -t 3601": ("--connect-timeout: 3601 is out of range", ""),
    "fab -H a --prompt-for-login-password deploy": ("--prompt-for-login-password is not supported", "ssh-copy-id"),
    "fab -H a deploy --prompt-for-passphrase": ("--prompt-for-passphrase is not supported", "ssh-add"),
    "fab -H a -T 5 deploy": ("--command-timeout is not supported", ""),
    "inv -e deploy": ("--echo is not supported", "put --dry before the task"),
    "inv deploy -p": ("--pty is not supported", ""),
    "fab -H a -w deploy": ("--warn-only is not supported", ""),
    "inv --hide both deploy": ("--hide is not supported", ""),
    "fab -H a --max-fail 101% deploy": ("--max-fail: '101%' is out of range", "--max-fail 10%"),
    "fab -H a --max-fail few deploy": ("--max-fail: 'few' is neither a number nor a percentage", "--max-fail 10%"),
    "fab -H a --wait-lock=-1 deploy": ("--wait-lock: -1 is out of range", "--wait-lock 0"),
    "inv --wait-lock soon deploy": ("--wait-lock: 'soon' is not a whole number", "--wait-lock 0"),
    "fab -H a status -- uname -r": ("a bare command after -- is not a task", "fab -H a run --command 'uname -r'"),
    "inv status -- uname": ("a bare command after -- is not a task", "inv run --command uname"),
    "inv --batches 1 deploy": ("no option '--batches'", ""),
    "inv --dry pool.direct --device": ("--device needs a value", ""),
    "inv pool.direct --device /dev/a --device --threshold 80": ("--device needs a value", ""),
    "inv pool.direct --wipe --device=/dev/a": ("--wipe needs a value", ""),
    f"inv deploy --release {'x' * 5000}": ("--release: a value of 5000 characters", ""),
}  # fmt: skip


@pytest.mark.parametrize(("line", "says"), WRONG.items(), ids=[line[:50] for line in WRONG])
def test_a_mistake_is_refused_with_what_is_right(line: str, says: tuple[str, str]) -> None:
    with pytest.raises(Refused) as refused:
        check(line)
    what, hint = says
    assert refused.value.what.startswith(what)
    assert hint in refused.value.hint
    assert refused.value.code == 2
    assert len(refused.value.what) < 200


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("fab h1 status", ("no hosts are given", "fab -H h1 status")),
        ("fab --dry root@h1,h2 deploy --json", ("no hosts are given", "fab --dry -H root@h1,h2 deploy --json")),
        ("fab h1 stats", ("no task 'h1'", "")),
        ("fab h3 status", ("no task 'h3'", "")),
        ("fab -H h2 h1 status", ("no task 'h1'", "")),
    ],
)
def test_hosts_in_the_place_of_a_task_get_their_option(line: str, says: tuple[str, str]) -> None:
    paths.inventory().write_text("[hosts.h1]\n[hosts.h2]\n")
    test_a_mistake_is_refused_with_what_is_right(line, says)


@pytest.mark.parametrize(
    "line",
    [
        "inv", "fab", "inv --list", "inv -l pool", "inv --help", "inv -h deploy", "inv deploy --help",
        "inv --dry deploy", "inv -R deploy", "inv deploy --dry", "fab -H a,b -t 5 deploy --release 2.3 smoke",
        "inv pool.direct --device /dev/a --device /dev/b --wipe /dev/a", "inv run 'uname -r'",
        "fab -H a --parallel 4 --batches 1,5,20% --max-fail 0 --wait-lock 60 deploy", "inv --wait-lock 0 deploy",
        "fab -H a deploy --batches 1,100% --max-fail 10%",
        "inv --sudo-password-file x deploy", "fab -H a --sudo-password-command 'pass show a' deploy",
        "inv --prompt-for-sudo-password deploy", "inv pool.kept --keep 0", "inv pool.restore --from /srv/x",
        "inv deploy --json --diff", "inv lab.shell lab-1",
    ],
)  # fmt: skip
def test_what_is_right_passes(line: str) -> None:
    check(line)


@pytest.mark.parametrize(
    ("line", "taken"),
    [
        ("inv runs.show last", True), ("inv runs.show --json last", True), ("inv runs.report --to x last", True),
        ("inv runs.report --to=last --json", False), ("inv runs.report --to last", False),
        ("inv runs.show doctor last", False), ("inv runs.list last", False), ("inv lab.down --json lab-1", True),
    ],
)  # fmt: skip
def test_a_word_after_a_task_and_its_options_is_its_own(
    monkeypatch: pytest.MonkeyPatch, line: str, taken: bool
) -> None:
    monkeypatch.setattr(sys, "argv", line.split())
    task = all_tasks()[line.split()[1]]
    assert any(argument.positional for argument in task.get_arguments()) == taken
    if taken:
        check(line)


@pytest.mark.parametrize("program", ["inv", "fab -H a"])
def test_with_json_a_refusal_is_a_document_too(program: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Refused):
        check(f"{program} deplooy --json")
    document = json.loads(capsys.readouterr().out)
    assert (document["schema"], document["exit_code"]) == (1, 2)
    assert document["error"]["what"] == "no task 'deplooy'"
    assert document["tasks" if program == "inv" else "hosts"] in ([], {})


@pytest.mark.parametrize("name", all_tasks())
def test_no_option_has_a_short_form(name: str) -> None:
    task = all_tasks()[name]
    assert not task.auto_shortflags
    for argument in task.get_arguments():
        assert all(len(each) > 1 for each in argument.names), argument


def test_every_task_is_ours() -> None:
    assert set(all_tasks()) == set(tasks.ns.task_names)


@pytest.mark.parametrize("name", all_tasks())
def test_help_says_limits_and_defaults(name: str) -> None:
    for option in all_tasks()[name].options.values():
        assert option.help
        assert not option.choices or " or ".join(option.choices) in option.help
        if option.kind is int and option.default:
            assert f"default: {option.default}" in option.help


def given_to(task: Task, words: list[str]) -> dict[str, Any]:
    """What the body of a task gets of some words behind it."""
    context = ParserContext("t", args=task.get_arguments())
    (_, called) = Parser([context], initial=ParserContext(args=Program().core_args())).parse_argv(["t", *words])
    assert called.help_tuples(), "what --help prints"
    got: dict[str, Any] = {}
    probe = copy.copy(task)
    probe.body = lambda c, **options: got.update(options)
    probe(Context(), **called.as_kwargs)
    return got


LOOP = all_tasks()["pool.loop"]
KEPT = all_tasks()["pool.kept"]


def test_what_was_not_given_is_not_passed_and_what_is_false_is() -> None:
    assert given_to(LOOP, []) == {}
    assert given_to(LOOP, ["--threshold", "1"]) == {"threshold": 1}
    assert given_to(KEPT, ["--keep", "0"]) == {"keep": 0}
    assert given_to(all_tasks()["pool.direct"], ["--device", "a", "--device", "b"])["devices"] == ["a", "b"]
    assert given_to(all_tasks()["pool.restore"], ["--from", "/x"])["from_"] == "/x"


VALUES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=30)


@given(number=st.integers(-(10**6), 10**6))
def test_a_number_reaches_the_task_as_it_is_or_is_refused(number: int) -> None:
    try:
        assert given_to(LOOP, [f"--threshold={number}"]) == {"threshold": number}
    except Refused as refused:
        assert not 1 <= number <= 100
        assert str(number) in refused.what
    else:
        assert 1 <= number <= 100


@given(
    value=VALUES | st.sampled_from(["--instance", "--size=1", "-h", "-hx"]),
    form=st.sampled_from(["--name={}", "--name {}"]),
)
def test_a_text_reaches_the_task_as_it_is_or_is_refused(value: str, form: str) -> None:
    words = [form.format(value)] if "=" in form else ["--name", value]
    try:
        assert given_to(LOOP, words) == {"name": value}
    except Refused as refused:
        assert not value.strip(), refused
    except ParseError:  # Invoke takes a value that is the name of an option for that option, even after =
        flags = {option.flag for option in LOOP.options.values()}
        flags |= {f"-{name}" if len(name) == 1 else f"--{name}" for arg in Program().core_args() for name in arg.names}
        assert value.startswith("-") and (len(words) == 2 or {value.partition("=")[0], value[:2]} & flags)


@given(
    words=st.lists(
        st.sampled_from([*tasks.ns.task_names, "--size", "--yes", "--json", "--dry", "1G", "x", "-i"]), max_size=6
    )
)
def test_any_words_are_taken_or_refused(words: list[str]) -> None:
    program = Program(name="Invoke")
    try:
        program.parse_core(["inv", *words])
        commandline.check_line(Line(program, tasks.ns))
    except Refused as refused:
        assert refused.code == 2
        assert refused.what


BARE = "a bare command after -- is not a task"


@pytest.mark.parametrize(
    ("line", "says", "hint"),
    [
        ("fab -H", "--hosts needs a value", "fab --help"),
        ("fab -H --dry deploy", "--hosts needs a value", "fab --help"),
        ("inv -e --command-timeout", "--command-timeout needs a value", "inv --help"),
        ("fab -t soon -H a deploy", "-t: 'soon' is not a whole number", ""),
        ("inv --command-timeout=soon deploy", "--command-timeout: 'soon' is not a whole number", ""),
        ("fab -H a,b -- uname -r", BARE, "fab -H a,b run --command 'uname -r'"),
        ("fab --list -- uname", BARE, "fab -H HOSTS run --command uname"),
        ("inv -c nope status", "--collection is not supported", ""),
        ("inv -- uname", BARE, "inv run --command uname"),
    ],
)
def test_a_mistake_in_front_of_the_first_task_is_refused_by_the_program(line: str, says: str, hint: str) -> None:
    words = shlex.split(line)
    program = Fab(name="Fabric") if words[0] == "fab" else Program(name="Invoke")
    programs.refusing(program)
    with pytest.raises(Refused) as refused:
        program.parse_core(words)
    assert (refused.value.what, refused.value.code) == (says, 2)
    assert hint in refused.value.hint


def test_the_words_to_complete_after_two_hyphens_are_not_a_command() -> None:
    program = Fab(name="Fabric")
    programs.refusing(program)
    program.parse_core(["fab", "--complete", "--", "fab", "-H"])
    assert program.core.remainder


def ended_by(error: BaseException, cause: BaseException | None = None) -> Callable[[str], None]:
    """What a program does that ends with an error, raised while `cause` is handled."""

    def run(name: str) -> None:
        error.__context__ = cause
        raise error

    return run


@pytest.mark.parametrize(
    ("run", "code"),
    [
        (ended_by(KeyboardInterrupt()), 130),
        (ended_by(SystemExit(1), KeyboardInterrupt()), 130),
        (ended_by(SystemExit(1), Exit(code=1)), 1),
        (ended_by(SystemExit(0)), 0),
    ],
    ids=["while it is imported", "before a task", "a failure", "the end"],
)
def test_ctrl_c_before_any_task_ends_with_130(
    run: Callable[[str], None], code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(programs, "_run", run)
    with pytest.raises(SystemExit) as end:
        programs.main("fab")
    assert end.value.code == code
    assert capsys.readouterr().err == ("error: interrupted\n" if code == programs.INTERRUPTED else "")
    assert Interrupted.code == programs.INTERRUPTED


def test_what_only_tests_of_invoke_use_is_imported_when_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invoke, "context", invoke.context)  # the import below replaces it
    for name in ("unittest.mock", "invoke.context"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    with programs.mock_later():
        context = importlib.import_module("invoke.context")
    assert "unittest.mock" not in sys.modules
    c = context.MockContext(run={"true": invoke.Result("said")})
    assert c.run("true").stdout == "said" and c.run.called
