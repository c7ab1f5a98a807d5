"""Outcomes and answers of tasks, and how they are shown: text, tables, JSON, JUnit.

outcome          outcomes of steps, tasks and hosts
json_document    the document of --json
answer           the answer of a task: printed, or collected until all hosts have answered
fleet_answers    answers of several hosts: equal ones once, others as a table
host_comparison  folds names of hosts, groups hosts by equal values, describes drift
live             the display of a run in progress
report_rows      the steps of a report, for tables, JUnit and HTML
summary          the lines at the end of a run
junit            a run as JUnit XML
"""
