"""`python -m data_processing` is `isofield prepare`: the story of the command is in isofield/commands/prepare.py."""

from isofield.commands.prepare import command, main

__all__ = ["command", "main"]

if __name__ == "__main__":
    command()
