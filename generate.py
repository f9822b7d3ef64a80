"""Generate meshes: `python generate.py --run RUN ...`. The story: isofield/commands/generate.py."""

from isofield.commands.generate import command

if __name__ == "__main__":
    command()
