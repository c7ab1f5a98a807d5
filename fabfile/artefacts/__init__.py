"""What is downloaded, fetched or built on the controller, verified and cached.

releases     release sets: artefacts with digests
catalogue    the grammar of releases.toml
address      addresses of files and repositories
web          HTTP within limits
download     files, with the required digest, once
repository   a git repository for a single fetch
source       containerd's source at one commit
git_tree     a git tree as a tar archive that can be verified
build        builds of containerd
cache_files  files of the cache: synced, and verified before each use
"""
