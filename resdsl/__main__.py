"""`python -m resdsl` is the same program as the script `resdsl`."""

from resdsl.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
