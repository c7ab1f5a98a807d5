"""The command line, and the executors behind inv and fab.

commandline   checks the command line before Invoke and Fabric do
line          a command line, and what it may have been meant to be
core_options  options in front of the first task
parse_errors  mistakes that Invoke's parser finds, in our words
task          the decorator `@task`
inv_executor  runs tasks on the controller, for inv
fab_executor  runs tasks on the selected hosts, for fab
documents     what both executors write at the end
batches       which hosts begin together, and how many may fail
"""
