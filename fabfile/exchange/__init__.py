"""The inventory in the notations of other tools.

ansible             what an inventory of Ansible says, and which variables a host gets
ansible_ini         reads one in INI notation
ansible_yaml        reads one in YAML
ssh_options         options of ssh in a variable of Ansible
translation         Ansible's hosts, groups and variables → those of hosts.toml
importing           inventory.import
exporting           inventory.export: which hosts and groups, and in which format
ansible_export      writes an inventory of Ansible
ssh_config          writes a configuration of ssh
"""
