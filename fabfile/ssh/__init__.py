"""SSH connections.

machine             a connection to a host or to a jump host
master              a connection that OpenSSH keeps for further runs
multiplex           a command over such a connection
route               the way to a host, as a configuration of ssh
transport           Paramiko's transport, with our options, keepalive and host key policy
channel             a command on a host
packets             reads and writes packets with fewer system calls than Paramiko
connections         all connections of a run, with shared gateways
config              what ~/.ssh/config sets
identity            checks a private key file
known_hosts         verifies host keys by known_hosts files
known_lines         the lines of a known_hosts file
hostkeys            reads the keys of a host by key exchange
recording           appends host keys to a known_hosts file
failure             error messages for failed connections
"""
