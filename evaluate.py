"""Compare meshes with their ground truth: `python evaluate.py ...`. The story: isofield/commands/evaluate.py."""

from isofield.commands.evaluate import command

if __name__ == "__main__":
    command()
