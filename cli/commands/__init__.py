"""The subcommands of `irdump`, one file each: `HELP`, `add_arguments` and `run`; cli/main.py lists them."""
