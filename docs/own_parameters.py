"""σ for each layer and frequency, τ and momentum for each layer, trained on noisy magnitudes."""

import torch

from phaserec import STFT
from unfolded import UnfoldedInversion


def make(n_layers: int = 3) -> UnfoldedInversion:
    """The σ-weighted algorithm with soft magnitudes, a falling σ to start from, and momentum."""
    return UnfoldedInversion(
        "aux",
        n_layers,
        stft=STFT(256),
        magnitude="soft",
        sigma=[3.0 / (k + 1) for k in range(n_layers)],
        momentum=0.1,
        trainable={"sigma": "layer,frequency", "tau": "layer", "momentum": "layer"},
    )


def train(net: UnfoldedInversion, n_steps: int, n_sources: int = 2) -> list[float]:
    """Recover tones in noise from magnitudes with errors; the loss after each step."""
    optimizer = torch.optim.Adam(net.parameter_groups()["declared"], 0.03)
    time = torch.arange(4000) / 8000
    losses = []
    for _ in range(n_steps):
        pitches = 200 + 2000 * torch.rand(4, n_sources, 1)
        sources = torch.sin(2 * torch.pi * pitches * time) + 0.1 * torch.randn(4, n_sources, 4000)
        V = net.stft(sources).abs()
        V = V * (1 + 0.3 * torch.randn_like(V)).clamp(min=0)
        loss = (net(V, sources.sum(1)) - sources).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


if __name__ == "__main__":
    layers = make()
    print(train(layers, 100)[::10])
    for number, layer in enumerate(layers.layers):
        values = {name: value.detach().mean().item() for name, value in layer.values().items()}
        print(f"layer {number}:", {name: round(value, 3) for name, value in values.items()})
