"""Import and export of the inventory in the formats of other tools.

ansible             an Ansible inventory as data, and which variables each host gets
ansible_ini         reads an Ansible inventory in INI format
ansible_yaml        reads an Ansible inventory in YAML
ssh_options         ssh options in a variable of Ansible
translation         Ansible's hosts, groups and variables → those of hosts.toml
importing           inventory.import
exporting           inventory.export
ansible_export      writes an Ansible inventory
ssh_config          writes a configuration for ssh
"""
