"""Three sources by a network of one's own, with one's own loop."""

import torch
from torch import nn

from phaserec import STFT
from unfolded import Separator


class Masks(nn.Module):
    """Masks of each frame by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(129, 64), nn.ReLU(), nn.Linear(64, 3 * 129))

    def forward(self, mixture: torch.Tensor, spectrogram: torch.Tensor) -> torch.Tensor:
        magnitudes = spectrogram.abs()  # (batch, channel, F, T)
        logits = self.net(magnitudes.transpose(-1, -2)).unflatten(-1, (3, 129))
        masks = logits.softmax(-2).permute(0, 3, 1, 4, 2)  # (batch, J, channel, F, T)
        return masks * magnitudes.unsqueeze(1)


def train(separator: Separator, n_steps: int) -> list[float]:
    """Separate tones from one another and from noise; the loss after each step."""
    optimizer = torch.optim.Adam(separator.parameters(), 1e-3)
    time = torch.arange(4000) / 8000
    losses = []
    for _ in range(n_steps):
        pitches = torch.tensor([300.0, 1200.0])[:, None] * (1 + 0.2 * torch.rand(4, 2, 1))
        tones = torch.sin(2 * torch.pi * pitches * time)
        sources = torch.cat([tones, 0.3 * torch.randn(4, 1, 4000)], 1)  # (batch, J, time)
        estimates = separator(sources.sum(1))
        loss = (estimates - sources).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


if __name__ == "__main__":
    names = ["low", "high", "noise"]
    model = Separator(Masks(), "misi", 2, stft=STFT(256), sample_rate=8000, targets=names)
    print(train(model, 100)[::10])
    model.save_pretrained("tones")
