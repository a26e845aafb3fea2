"""The gradients of one batch; on a GPU replayed as a CUDA graph.

A step of a small network is some thousand kernels, and a processor launches them more slowly than a GPU computes
them. A CUDA graph launches all of them at once (https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs), with
the same kernels and the same random numbers.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import torch
from torch import nn

from bts_tune.errors import ConfigError
from bts_tune.losses.base import Loss
from bts_tune.text import first_line
from bts_tune.training.device import MixedPrecision

_EAGER_STEPS = 3
"""Whole batches before one is captured: libraries choose their kernels in the first ones."""


class TrainingStep:
    """Computes the gradients of a batch, and sums up what an epoch is reported by.

    Args:
        model: in its place on the device, in training mode whenever a batch is computed.
        loss: of the batch.
        amp: device and precision.
        label_smoothing: how soft the truth is made: 0 and 1 become half of it and 1 less half of it.
    """

    def __init__(self, model: nn.Module, loss: Loss, amp: MixedPrecision, label_smoothing: float = 0.0) -> None:
        self._model, self._loss, self._amp, self._smoothing = model, loss, amp, label_smoothing
        self._loss_sum = torch.zeros((), dtype=torch.float64, device=amp.device)
        self._dice_sums = torch.zeros(3, dtype=torch.float64, device=amp.device)
        self._graph = _Graph(self._compute, self._parameters, amp.device) if amp.device.type == "cuda" else None

    def describe(self) -> str:
        """Return how batches are computed, for the record."""
        if self._graph is None:
            return "eager"
        return self._graph.refused or "CUDA graph"

    def begin_epoch(self) -> None:
        """Set the sums to 0, and look at which parameters are trained from here on."""
        self._loss_sum.zero_()
        self._dice_sums.zero_()
        if self._graph is not None:
            self._graph.begin_epoch()

    def __call__(self, image: torch.Tensor, truth: torch.Tensor) -> None:
        """Leave the gradients of a batch, scaled as float16 needs it, in the parameters' `grad`.

        Args:
            image: float32 [n, C, S, S].
            truth: float32, 0 or 1, [n, 1, S, S].
        """
        if self._graph is not None:
            self._graph(image, truth)
        else:
            forget_gradients(self._parameters())
            self._compute(image, truth)

    def loss(self, logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        """Return the loss of a batch, a scalar, on a truth as soft as was asked for.

        Raises:
            ConfigError: the loss returns something else, or nothing that gradients flow through.
        """
        smoothing = self._smoothing
        found = self._loss(logits, truth * (1 - smoothing) + smoothing / 2 if smoothing else truth)
        if not isinstance(found, torch.Tensor):
            wrong = f"a {type(found).__name__}"
        elif found.dim():
            wrong = f"a tensor of shape {list(found.shape)}"
        elif logits.requires_grad and not found.requires_grad:
            wrong = "a tensor that no gradients flow through"
        else:
            return found
        name = getattr(self._loss, "name", type(self._loss).__name__)
        raise ConfigError(
            f"loss {name!r}: returned {wrong}; it must return a scalar tensor (shape []) that is computed from the "
            "logits by torch, without .item(), .detach() or numpy."
        )

    def sums(self) -> tuple[float, list[float]]:
        """Return the loss, summed over the epoch's images, and sum p*y, sum p and sum y over their pixels."""
        return float(self._loss_sum), self._dice_sums.tolist()

    def close(self) -> None:
        """Give back what a graph holds."""
        if self._graph is not None:
            self._graph.drop()

    def _parameters(self) -> list[nn.Parameter]:
        return list(self._model.parameters())

    def _compute(self, image: torch.Tensor, truth: torch.Tensor) -> None:
        with self._amp.autocast():
            logits = self._model(image)
        logits = logits.float()
        loss = self.loss(logits, truth)
        self._amp.scaler.scale(loss).backward()
        with torch.no_grad():
            probability = torch.sigmoid(logits.detach())
            self._loss_sum += loss.detach().double() * len(image)
            self._dice_sums += torch.stack([(probability * truth).sum(), probability.sum(), truth.sum()]).double()


def forget_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Let the next backward pass write gradients, not add to them."""
    for parameter in parameters:
        parameter.grad = None


class _Graph:
    """The graph of an epoch's whole batches, captured after a few of them.

    A last batch of fewer images is computed without it. So is every batch from then on, if a batch cannot be captured,
    for example because the loss waits for the GPU (`.item()`), or because memory does not suffice.
    """

    def __init__(
        self,
        compute: Callable[[torch.Tensor, torch.Tensor], None],
        parameters: Callable[[], list[nn.Parameter]],
        device: torch.device,
    ) -> None:
        self.refused = ""
        self._compute, self._parameters, self._device = compute, parameters, device
        self._stream = torch.cuda.Stream(device)
        self._graph: torch.cuda.CUDAGraph | None = None
        self._inputs: tuple[torch.Tensor, torch.Tensor] | None = None
        self._shape: torch.Size | None = None
        self._steps = 0
        self._trained: list[bool] = []

    def begin_epoch(self) -> None:
        """Drop the graph if other parameters are trained than those that it was captured with."""
        trained = [parameter.requires_grad for parameter in self._parameters()]
        if trained != self._trained:
            self.drop()
            self._trained = trained

    def drop(self) -> None:
        """Give its memory back, and the gradients, which lie in it."""
        self._graph, self._inputs, self._shape, self._steps = None, None, None, 0
        forget_gradients(self._parameters())

    def __call__(self, image: torch.Tensor, truth: torch.Tensor) -> None:
        """Compute a batch."""
        self._shape = self._shape or image.shape
        whole = image.shape == self._shape
        if whole and self._graph is None and self._steps == _EAGER_STEPS and not self.refused:
            self._capture(image, truth)
        if whole and self._graph is not None and self._inputs is not None:
            for kept, new in zip(self._inputs, (image, truth), strict=True):
                kept.copy_(new)
            self._graph.replay()
            return
        if self._graph is not None:  # its gradients keep their places
            torch._foreach_zero_([one.grad for one in self._parameters() if one.grad is not None])
        else:
            forget_gradients(self._parameters())
        # On the stream of the capture, as torch asks for, so that autograd meets no other one there.
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            if whole and self._steps == _EAGER_STEPS - 1 and not self.refused:
                self._rehearse(image, truth)
            else:
                self._compute(image, truth)
        current.wait_stream(self._stream)
        self._steps += whole

    def _rehearse(self, image: torch.Tensor, truth: torch.Tensor) -> None:
        """Compute the batch before the capture, and refuse to capture one that waits for the GPU."""
        torch.cuda.set_sync_debug_mode("error")
        try:
            self._compute(image, truth)
        except torch.cuda.OutOfMemoryError:
            raise
        except RuntimeError as error:
            self._refuse(error)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        if self.refused:
            forget_gradients(self._parameters())
            self._compute(image, truth)

    def _refuse(self, error: RuntimeError) -> None:
        self.refused = f"eager, no CUDA graph: {first_line(error)}"
        logging.getLogger(__name__).warning("Training steps are %s", self.refused)

    def _capture(self, image: torch.Tensor, truth: torch.Tensor) -> None:
        forget_gradients(self._parameters())
        inputs = image.clone(), truth.clone()
        graph = torch.cuda.CUDAGraph()
        try:
            # The loader's threads go on with memory of their own: only this thread's calls are watched.
            with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
                self._compute(*inputs)
        except RuntimeError as error:
            self._refuse(error)
            # A capture that failed leaves the random numbers in its mode; a copy of their state is out of it.
            generator = torch.cuda.default_generators[self._device.index or torch.cuda.current_device()]
            generator.graphsafe_set_state(generator.clone_state())
            forget_gradients(self._parameters())
        else:
            self._graph, self._inputs = graph, inputs
