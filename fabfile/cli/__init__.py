"""The command line, and the executors behind inv and fab."""
