"""Run the command line with `python -m unveil`."""

from unveil.cli.app import main

if __name__ == "__main__":
    main()
