"""Steps of a deploy, and other tasks on a host except those on a pool.

deploy          deploy: all steps in their order
packages        distribution packages
toolchain       Go and protoc
containerd      building and installing containerd
runc            installing runc
versioned       versions side by side in /opt, and links to the current one
foreign         a containerd that this tool did not install
config          containerd's configuration and units: the step containerd.configure
settings        this tool's keys in config.toml
overrides       files that override these settings
ext4            options of the file systems that containerd makes
smoke           the smoke test
refusals        what a deploy would refuse, for doctor
status          status, doctor and the health check
overview        status of several hosts, as a table
findings_table  doctor of several hosts: each finding once
origin          inventory.show: where each setting comes from
run             run: a command on each host
reset           pool.reset
teardown        pool.reset --all: everything besides pools
"""
