"""Changes of colour, each image by its own factors (N,): pixels (N, C, H, W) in float32 that hold integers 0 to 255.

Results are rounded down to integers where 8-bit images are usually rounded so; see tests/training/test_colours.py.
"""

import torch
import torch.nn.functional as F  # noqa: N812 (its usual name)
from torch import Tensor

from resdsl.recipe_types import Call
from resdsl.train.constants import constant

GRAY = (0.2989, 0.587, 0.114)  # ITU-R 601 luma

# Principal components of the RGB values of ImageNet's training images, between 0 and 1: standard deviations along
# them and directions (columns), as published with fb.resnet.torch (Gross and Wilber 2016).
DEVIATIONS = (0.2175, 0.0188, 0.0045)
DIRECTIONS = ((-0.5675, 0.7192, 0.4009), (-0.5808, -0.0045, -0.8140), (-0.5836, -0.6948, 0.4203))


def lighting(pixels: Tensor, drawn: Tensor, deviation: float) -> Tensor:
    """Every pixel moved by the same colour: a sum of the principal components, weighted by `drawn` (N, 3), which is
    normal, times `deviation` times the component's own size (Krizhevsky et al. 2012, section 4.1). Not rounded.
    """
    directions = constant(DIRECTIONS, pixels.device)
    sizes = constant(DEVIATIONS, pixels.device)
    return pixels + 255 * ((drawn * deviation * sizes) @ directions.T)[:, :, None, None]


def colour_jitter(pixels: Tensor, drawn: Tensor, step: Call) -> Tensor:
    """Brightness, contrast, saturation and hue by random factors, one after the other; `drawn` (N, 8) has the factors
    and the order.
    """
    changes = {"brightness": brightness, "contrast": contrast, "saturation": saturation, "hue": hue}
    amounts = {name: step.number(name) for name in changes}
    factors = {
        name: (0 if name == "hue" else 1) + amount * (2 * drawn[:, place] - 1)
        for place, (name, amount) in enumerate(amounts.items())
    }
    active = [place for place, amount in enumerate(amounts.values()) if amount]
    if not active:
        return pixels
    order = torch.stack([drawn[:, 4 + place] for place in active], dim=1).argsort(dim=1)
    for turn in range(len(active)):
        before = pixels
        for number, place in enumerate(active):
            name = list(changes)[place]
            chosen = (order[:, turn] == number)[:, None, None, None]
            pixels = torch.where(chosen, changes[name](before, factors[name]), pixels)
    return pixels


def brightness(pixels: Tensor, factors: Tensor) -> Tensor:
    """Black blended in."""
    return blend(pixels, torch.zeros_like(pixels), factors)


def contrast(pixels: Tensor, factors: Tensor) -> Tensor:
    """The image's mean gray blended in."""
    return blend(pixels, mean_gray(pixels), factors)


def saturation(pixels: Tensor, factors: Tensor) -> Tensor:
    """The gray image blended in; gray images stay as they are."""
    return pixels if pixels.shape[1] == 1 else blend(pixels, gray(pixels), factors)


def sharpness(pixels: Tensor, factors: Tensor) -> Tensor:
    """The smoothed image blended in."""
    # Written so that pixels that smoothing leaves as they are stay so exactly.
    return (pixels + (smooth(pixels) - pixels) * (1 - factors[:, None, None, None])).clamp(0, 255).floor()


def blend(pixels: Tensor, others: Tensor, factors: Tensor) -> Tensor:
    """`factors` times the pixels, and the rest of 1 times the others, which broadcast to (N, C, H, W)."""
    weights = factors[:, None, None, None]
    return (pixels * weights + others * (1 - weights)).clamp(0, 255).floor()


def gray(pixels: Tensor) -> Tensor:
    """Luma (N, 1, H, W)."""
    if pixels.shape[1] == 1:
        return pixels
    red, green, blue = pixels.unbind(dim=1)
    return (red * GRAY[0] + green * GRAY[1] + blue * GRAY[2]).floor().unsqueeze(1)


def mean_gray(pixels: Tensor) -> Tensor:
    """Mean luma (N, 1, 1, 1)."""
    return gray(pixels).mean(dim=(1, 2, 3), keepdim=True)


def smooth(pixels: Tensor) -> Tensor:
    """A mean over 3 x 3 pixels in which the middle one counts five times; the border stays as it is."""
    channels, height, width = pixels.shape[1:]
    if min(height, width) <= 2:
        return pixels
    kernel = torch.ones(3, 3, device=pixels.device)
    kernel[1, 1] = 5
    inner = F.conv2d(pixels, (kernel / 13).expand(channels, 1, 3, 3), groups=channels).round()
    result = pixels.clone()
    result[:, :, 1:-1, 1:-1] = inner
    return result


def hue(pixels: Tensor, turns: Tensor) -> Tensor:
    """The hue of hue, saturation and value turned by a share (N,) of the circle; gray images stay as they are."""
    if pixels.shape[1] == 1:
        return pixels
    colours = pixels / 255
    value, brightest = colours.max(dim=1)
    chroma = value - colours.amin(dim=1)
    red, green, blue = colours.unbind(dim=1)
    width = torch.where(chroma > 0, chroma, 1.0)
    sixths = torch.stack([(green - blue) / width, (blue - red) / width + 2, (red - green) / width + 4], dim=1)
    angle = sixths.gather(1, brightest[:, None]).squeeze(1)  # in sixths of the circle
    turned = (angle + 6 * turns[:, None, None]).remainder(6)
    # Each colour falls and rises with its distance on the circle from where it is brightest.
    places = constant((5.0, 3.0, 1.0), pixels.device)[:, None, None]
    distance = (turned[:, None] + places).remainder(6)
    share = torch.minimum(distance, 4 - distance).clamp(0, 1)
    return ((value[:, None] - chroma[:, None] * share).clamp(0, 1) * 255.999).floor()


def posterize(pixels: Tensor, bits: Tensor) -> Tensor:
    """The highest `bits` (N,) of the eight of each pixel kept."""
    step = torch.exp2(8 - bits)[:, None, None, None]
    return (pixels / step).floor() * step


def solarize(pixels: Tensor, thresholds: Tensor) -> Tensor:
    """Pixels at the threshold (N,) or above it inverted."""
    return torch.where(pixels >= thresholds[:, None, None, None], 255 - pixels, pixels)


def autocontrast(pixels: Tensor) -> Tensor:
    """Each channel stretched over all 256 values, unless it has but one."""
    lowest, highest = pixels.amin(dim=(2, 3), keepdim=True), pixels.amax(dim=(2, 3), keepdim=True)
    scale = (highest - lowest) * (1 / 255)
    stretched = ((pixels - lowest) / torch.where(scale > 0, scale, 1.0)).clamp(0, 255).floor()
    return torch.where(scale > 0, stretched, pixels)


def equalize(pixels: Tensor) -> Tensor:
    """Each channel with values as evenly frequent as they can be made."""
    flat = pixels.flatten(2).long()
    counts = torch.zeros(*flat.shape[:2], 256, dtype=torch.long, device=pixels.device)
    counts.scatter_add_(2, flat, torch.ones_like(flat))
    sums = counts.cumsum(dim=2)
    highest = counts.gather(2, flat.amax(dim=2, keepdim=True))
    step = (flat.shape[2] - highest) // 255
    table = ((sums - counts + step // 2) // step.clamp_min(1)).clamp(0, 255)
    equalized = table.gather(2, flat).view_as(pixels).to(pixels.dtype)
    return torch.where((step > 0)[..., None], equalized, pixels)
