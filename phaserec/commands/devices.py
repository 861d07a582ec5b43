"""Devices of torch that the command line may name."""


def check_device(device: str) -> None:
    """Raise unless arrays can be kept on a device and read back.

    Parameters
    ----------
    device : str
        A device of torch.

    Raises
    ------
    ValueError
        If torch is missing or the device is not there, or is none that computes, such as meta.
    """
    try:
        import torch
    except ImportError:
        raise ValueError(
            f"--device {device} needs torch: pip install 'phaserec[unfolded]'"
        ) from None
    try:
        torch.zeros(1, device=device).tolist()
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"--device {device} is not available: {reason}") from None
