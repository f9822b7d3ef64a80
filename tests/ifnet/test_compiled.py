"""IF-Net as `training.compile` compiles it: its parts are one graph each, without a break."""

import torch

from ifnet.model import Config, IFNet


def test_the_encoder_and_the_decoder_are_whole_graphs():
    torch.manual_seed(0)
    model = IFNet(Config(resolution=16, stages=((4,), (6, 8)), decoder_widths=(32, 16)))
    inputs, points = torch.rand(2, 1, 16, 16, 16), torch.rand(2, 30, 3) - 0.5
    volumes = torch.compile(model.encoder, backend="eager", fullgraph=True)(inputs)
    logits = torch.compile(model.decoder, backend="eager", fullgraph=True)(points, volumes)
    model.encoder(inputs)
    assert torch.allclose(logits, model.decode(points, volumes), atol=1e-5)
