"""Run records: what was typed, what happened, and what each host printed, kept on the controller for later.

storage   the directory of a run, and which ones are removed
record    the files that are written during the run
history   records of earlier runs, read back
show      records as text, for a terminal
chart     where the time of a run went, as the positions of bars
page      a run as one HTML file
"""
