"""One option for products and convolutions, put back afterwards."""

import pytest
import torch

from isofield.runtime.precision import describe_precision, products_in

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)


def settings() -> tuple[str, bool]:
    return torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32


@pytest.mark.parametrize(
    ("precision", "expected"),
    [("float32", ("highest", False)), ("tf32", ("high", True)), ("bfloat16", ("highest", False))],
)
def test_products_and_convolutions_mean_the_same_and_are_put_back(precision, expected):
    before = settings()
    with pytest.raises(KeyError), products_in(precision, CUDA):
        assert settings() == expected
        raise KeyError
    assert settings() == before


def test_a_cpu_stays_as_it_is_and_says_what_tf32_is_there():
    before = settings()
    with products_in("tf32", CPU):
        assert settings() == before
    (line,) = describe_precision("tf32", CPU)
    assert "cpu" in line and "float32" in line
    assert describe_precision("tf32", CUDA) == describe_precision("float32", CPU) == []


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_the_errors_are_those_of_the_precision():
    generator = torch.Generator().manual_seed(0)
    a, kernel = torch.rand(512, 512, generator=generator), torch.rand(16, 32, 3, 3, 3, generator=generator)
    x = torch.rand(1, 32, 16, 16, 16, generator=generator)
    exact = a.double() @ a.double(), torch.nn.functional.conv3d(x.double(), kernel.double())
    for precision, most, least in (("float32", 1e-5, 0), ("tf32", 3e-3, 1e-5)):
        with products_in(precision, CUDA):
            found = a.cuda() @ a.cuda(), torch.nn.functional.conv3d(x.cuda(), kernel.cuda())
        for ours, wanted in zip(found, exact, strict=True):
            assert least <= ((ours.cpu() - wanted).abs().max() / wanted.abs().max()).item() < most, precision
