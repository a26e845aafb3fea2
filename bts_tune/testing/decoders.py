"""What every decoder must do."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import nn

from bts_tune.config import TrialConfig
from bts_tune.models.build import build_model
from bts_tune.models.decoders.base import DECODERS
from bts_tune.models.freezing import set_mode
from bts_tune.models.weights import EncoderWeights


class DecoderContract:
    """Inherit it, and name the decoder: `name = "my-decoder"`.

    Attributes:
        name: the name that the decoder is registered under.
        encoder: a small encoder that it can be built on; 'none' for a decoder that has none.
        parameters: further fields of the configuration.
    """

    name: ClassVar[str]
    encoder: ClassVar[str] = "resnet18"
    parameters: ClassVar[dict[str, Any]] = {}

    def build(self, **fields: Any) -> nn.Module:
        """Return the network of a configuration."""
        chosen = {"decoder": self.name, "encoder": self.encoder, "encoder_weights": "none"}
        config = TrialConfig.parse({**chosen, **self.parameters, **fields})
        torch.manual_seed(config.seed)
        return build_model(config, EncoderWeights(config.encoder))

    def images(self, more: int = 0) -> torch.Tensor:
        """Return two images of the smallest size that the decoder takes, and some pixels more."""
        size = DECODERS.get(self.name).smallest_image + more
        return torch.randn(2, 1, size, size)

    def test_it_is_declared(self) -> None:
        """Its parameters have names of their own."""
        decoder = DECODERS.get(self.name)
        assert decoder.name == self.name
        decoder.check_declared(self.name)

    def test_logits_have_the_size_of_the_images(self) -> None:
        """Whatever the size, a multiple of 32."""
        model = self.build().eval()
        for more in (0, 32):
            images = self.images(more)
            with torch.no_grad():
                logits = model(images)
            assert logits.shape == images.shape
            assert torch.isfinite(logits).all()

    def test_the_same_seed_gives_the_same_weights(self) -> None:
        """Nothing else at random is drawn while it is built."""
        one, other = self.build(seed=1).state_dict(), self.build(seed=1).state_dict()
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one)

    def test_every_parameter_is_trained(self) -> None:
        """A gradient reaches each of them, but for parts of an encoder that no decoder uses."""
        model = self.build()
        model(self.images()).square().sum().backward()
        without = [name for name, parameter in model.named_parameters() if parameter.grad is None]
        assert not [name for name in without if not name.startswith("encoder.")], without

    def test_evaluation_is_deterministic(self) -> None:
        """Dropout and drop-connect are off."""
        decoder = DECODERS.get(self.name)
        model = self.build(**dict.fromkeys(decoder.dropout, 0.5))
        set_mode(model, training=False)
        image = self.images()
        with torch.no_grad():
            assert torch.equal(model(image), model(image))

    def test_dropout_takes_effect(self) -> None:
        """Each kind that the decoder names makes two passes in training mode differ; the others are refused."""
        decoder = DECODERS.get(self.name)
        for field in decoder.dropout:
            model = self.build(**{field: 0.5})
            for module in model.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
            image = self.images()
            with torch.no_grad():
                assert not torch.equal(model(image), model(image)), field
