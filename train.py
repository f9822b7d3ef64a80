"""Train a model: `python train.py --config CONFIG`. The story: isofield/commands/train.py."""

from isofield.commands.train import command

if __name__ == "__main__":
    command()
