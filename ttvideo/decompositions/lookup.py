"""Two autoencoders look for their convolutions by class, which no convolution's replacement has any more.

AutoencoderKLMagvit empties its convolutions' caches before each clip, AutoencoderKLQwenImage counts them to
make room for theirs. Unheeded, the one would go on from the clip before, the other find no room.
"""

from types import MethodType

from diffusers import AutoencoderKLMagvit, AutoencoderKLQwenImage, AutoencoderKLWan
from torch import nn


def clear_by_method(vae: AutoencoderKLMagvit) -> None:
    for module in vae.modules():
        if module is not vae and hasattr(module, "_clear_conv_cache"):
            module._clear_conv_cache()


# QwenImage's is a copy of Wan's, which has since come to use the counts that both take while they are built.
FOUND_BY_CLASS = {
    AutoencoderKLMagvit: ("_clear_conv_cache", clear_by_method),
    AutoencoderKLQwenImage: ("clear_cache", AutoencoderKLWan.clear_cache),
}


def look_no_more(model: nn.Module) -> None:
    """Give the autoencoders in `model` a method that does without the class."""
    for module in model.modules():
        if type(module) in FOUND_BY_CLASS:
            name, method = FOUND_BY_CLASS[type(module)]
            setattr(module, name, MethodType(method, module))
