"""The DCGAN script that everybody has: ``python tests/benchmarks/textbook.py FOLDER``, which holds a folder a class.

What ganctl is measured against: ImageFolder with its transforms, a DataLoader with two workers, float32, sigmoid and
BCELoss, Adam as constructed by default, real and fake in passes of their own, gradients of everything, and four figures
read in every step. Nothing of it is ganctl's. Prints one line of JSON: steps, images, and seconds of the loop, from
asking for the first batch to the end of the last step.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path

import torch
from torch import Tensor, nn, optim
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

LATENTS = 100


def generator(size: int, filters: int) -> nn.Sequential:
    """Return the generator of Radford et al. 2016 for 32, 64 or 128 px."""
    width = filters * size // 8
    layers: list[nn.Module] = [
        nn.ConvTranspose2d(LATENTS, width, 4, 1, 0, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(True),
    ]
    while width > filters:
        layers += [
            nn.ConvTranspose2d(width, width // 2, 4, 2, 1, bias=False),
            nn.BatchNorm2d(width // 2),
            nn.ReLU(True),
        ]
        width //= 2
    return nn.Sequential(*layers, nn.ConvTranspose2d(width, 3, 4, 2, 1, bias=False), nn.Tanh())


def discriminator(size: int, filters: int) -> nn.Sequential:
    """Return the discriminator that mirrors it."""
    layers: list[nn.Module] = [nn.Conv2d(3, filters, 4, 2, 1, bias=False), nn.LeakyReLU(0.2, inplace=True)]
    width = filters
    while width < filters * size // 8:
        layers += [
            nn.Conv2d(width, 2 * width, 4, 2, 1, bias=False),
            nn.BatchNorm2d(2 * width),
            nn.LeakyReLU(0.2, inplace=True),
        ]
        width *= 2
    return nn.Sequential(*layers, nn.Conv2d(width, 1, 4, 1, 0, bias=False), nn.Sigmoid())


def weights_init(module: nn.Module) -> None:
    name = module.__class__.__name__
    if "Conv" in name:
        nn.init.normal_(module.weight, 0.0, 0.02)  # type: ignore[arg-type]
    elif "BatchNorm" in name:
        nn.init.normal_(module.weight, 1.0, 0.02)  # type: ignore[arg-type]
        nn.init.zeros_(module.bias)  # type: ignore[arg-type]


def main(
    images: Path, size: int, filters: int, batch: int, steps: int, minutes: float, seed: int, keep: Path | None
) -> None:
    """Train for *steps* or *minutes*; write the generator's weights to the folder *keep* every half minute."""
    torch.manual_seed(seed)
    prepare = transforms.Compose(
        [
            transforms.Resize(size),
            transforms.CenterCrop(size),
            transforms.ToTensor(),
            transforms.Normalize((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        ]
    )
    loader = DataLoader(ImageFolder(str(images), prepare), batch_size=batch, shuffle=True, num_workers=2)
    net_g, net_d = generator(size, filters).apply(weights_init), discriminator(size, filters).apply(weights_init)
    criterion = nn.BCELoss()
    adam_d = optim.Adam(net_d.parameters(), lr=2e-4, betas=(0.5, 0.999))
    adam_g = optim.Adam(net_g.parameters(), lr=2e-4, betas=(0.5, 0.999))

    begun = time.perf_counter()
    step, kept = 0, 0
    while step < steps and time.perf_counter() - begun < 60 * minutes:
        for real, _ in loader:
            net_d.zero_grad()
            label = torch.full((len(real),), 1.0)
            output = net_d(real).view(-1)
            loss_real = criterion(output, label)
            loss_real.backward()
            output.mean().item()

            latents = torch.randn(len(real), LATENTS, 1, 1)
            fake: Tensor = net_g(latents)
            label.fill_(0.0)
            output = net_d(fake.detach()).view(-1)
            loss_fake = criterion(output, label)
            loss_fake.backward()
            output.mean().item()
            adam_d.step()

            net_g.zero_grad()
            label.fill_(1.0)
            output = net_d(fake).view(-1)
            loss_g = criterion(output, label)
            loss_g.backward()
            (loss_real + loss_fake).item()
            loss_g.item()
            adam_g.step()

            step += 1
            seconds = time.perf_counter() - begun
            if keep and seconds >= 30 * (kept + 1):
                kept = int(seconds // 30)
                torch.save(net_g.state_dict(), keep / f"{seconds:07.1f}.pt")
            if step >= steps or seconds >= 60 * minutes:
                break
    print(json.dumps({"steps": step, "images": step * batch, "seconds": time.perf_counter() - begun}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("images", type=Path)
    for name, value in {"size": 64, "filters": 64, "batch": 64, "steps": 10**9, "seed": 0}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--minutes", type=float, default=math.inf)
    parser.add_argument("--keep", type=Path)
    main(**vars(parser.parse_args()))
