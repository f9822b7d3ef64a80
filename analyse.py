"""Find bad organ masks in a folder: `python analyse.py ...`. The story: isofield/commands/analyse.py."""

from isofield.commands.analyse import command

if __name__ == "__main__":
    command()
