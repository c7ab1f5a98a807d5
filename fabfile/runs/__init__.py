"""Run records: what was typed, what happened, and what each host printed, kept on the controller for later.

place     the directory of a run, and which ones are removed
record    what is written while the run goes on
history   what a record says, read back
show      runs, as a person reads them on a terminal
chart     where the time of a run went, as the places of bars
page      a run as one HTML file
"""
