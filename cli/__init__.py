"""The command line: one file a command; streams, colour, the environment and exit codes live here only."""
