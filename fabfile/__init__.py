"""Door for fab: the tasks, on hosts."""

from __future__ import annotations

from invoke import Collection

from fabfile import commandline as _commandline
from fabfile.pool import status as _pool
from fabfile.pool.loop import grow as _grow
from fabfile.pool.loop import loop_pool as _loop
from fabfile.pool.lvm import candidates as _disks
from fabfile.pool.lvm import direct_pool as _direct
from fabfile.pool.maintain import adopt as _adopt
from fabfile.pool.maintain import backup as _backup
from fabfile.pool.maintain import check as _check
from fabfile.pool.maintain import fsck as _fsck
from fabfile.pool.maintain import kept as _keep
from fabfile.pool.maintain import repair as _repair
from fabfile.pool.maintain import rescue as _rescue
from fabfile.pool.maintain import restore as _restore
from fabfile.pool.maintain import trim as _trim
from fabfile.steps import config as _config
from fabfile.steps import containerd as _containerd
from fabfile.steps import deploy as _deploy
from fabfile.steps import packages as _packages
from fabfile.steps import reset as _reset
from fabfile.steps import run as _run
from fabfile.steps import runc as _runc
from fabfile.steps import smoke as _smoke
from fabfile.steps import status as _status
from fabfile.steps import toolchain as _toolchain


def namespace() -> Collection:
    """The tasks that inv and fab share."""
    return Collection(
        _deploy.deploy,
        _packages.packages,
        _run.run,
        _smoke.smoke,
        _status.status,
        _status.doctor,
        Collection("toolchain", _toolchain.go, _toolchain.protoc),
        Collection("containerd", _containerd.build, _containerd.install, _config.configure),
        Collection("runc", _runc.install),
        Collection(
            "pool",
            _loop.loop,
            _direct.direct,
            _adopt.adopt,
            _disks.disks,
            _grow.grow,
            _pool.status,
            _check.check,
            _backup.backup,
            _repair.repair,
            _restore.restore,
            _rescue.rescue,
            _keep.kept,
            _fsck.fsck,
            _trim.trim,
            _reset.reset,
        ),
    )


ns = namespace()
if _fab := _commandline.running("fabric"):
    _commandline.check(_fab, ns)
