"""Which files containerd reads, found by a shell as containerd finds them: nested, relative, by patterns, each once."""

from __future__ import annotations

import subprocess
from pathlib import Path

from fabfile.facts import config

FILES = {
    "config.toml": """version = 2
imports = [ # "not/this.toml"
  "conf.d/*.toml", '{dir}/own.toml', "gone.toml",
]
[grpc]
""",
    "conf.d/b.toml": 'imports = ["../deep.toml", "../config.toml"]\n',
    "conf.d/a file.toml": "root = '/a'\n",
    "own.toml": "[debug]\nimports = ['no table.toml']\n",
    "deep.toml": "state = '/d'\n",
    "empty.toml": "",
}  # fmt: skip


def test_the_files_that_containerd_reads(tmp_path: Path) -> None:
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text.replace("{dir}", str(tmp_path)))
    script = f"{config.FILES}\nread_all '{tmp_path}/config.toml'\n"
    done = subprocess.run(["sh", "-eu"], input=script, capture_output=True, text=True, check=True)
    found = config.parse(done.stdout).sources
    names = [of.path.removeprefix(f"{tmp_path}/") for of in found]
    assert names == ["config.toml", "conf.d/a file.toml", "conf.d/b.toml", "own.toml", "gone.toml", "deep.toml"]
    problems = {Path(of.path).name: of.problem for of in found if of.problem}
    assert problems == {"gone.toml": "there is no such file"}
    assert found[1].values["root"] == config.Value("/a", 1)
    assert done.stderr == ""
