from __future__ import annotations

import json
from itertools import islice
from pathlib import Path

import pytest
import segmentation_models_pytorch as smp
import torch
from safetensors.torch import load_file

from bts_tune.errors import RunError
from bts_tune.training.checkpoint import CARD, LAST, WEIGHTS, load_last, load_model
from bts_tune.training.loop import rows
from bts_tune.training.trial import Trial
from tests.training.builders import opened, tiny, trained


def image() -> torch.Tensor:
    return torch.randn(2, 1, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    trained(tiny(), folder=tmp_path)
    return tmp_path


def weights_by_epoch(trial: Trial) -> list[dict[str, torch.Tensor]]:
    return [{k: v.clone() for k, v in trial.model.state_dict().items()} for _ in rows(trial)]


def test_the_best_weights_are_kept_and_not_the_last(tmp_path: Path) -> None:
    config = tiny(epochs=6, learning_rate=0.05, optimizer="sgd")
    trial = opened(config, folder=tmp_path)
    by_epoch = weights_by_epoch(trial)
    best = min(trial.done, key=lambda row: row.val_dice_loss)
    saved = load_model(tmp_path)
    assert saved.epoch == best.epoch
    assert all(torch.equal(v, by_epoch[best.epoch - 1][k]) for k, v in saved.model.state_dict().items())
    assert json.loads((tmp_path / CARD).read_text())["metrics"] == best.to_dict()
    last = load_last(tmp_path, config)
    assert last is not None
    assert all(torch.equal(v, by_epoch[-1][k]) for k, v in last["model"].items())
    trial.close()


def test_a_saved_model_is_ready_to_use(finished: Path) -> None:
    saved = load_model(finished)
    assert saved.config == tiny()
    assert not any(module.training for module in saved.model.modules())
    assert saved.mean == pytest.approx(json.loads((finished / CARD).read_text())["mean"])
    assert isinstance(saved.std, float)
    assert saved.std > 0
    with torch.no_grad():
        assert torch.equal(saved.model(image()), saved.model(image()))


def test_weights_load_into_plain_smp(tmp_path: Path) -> None:
    trained(tiny(epochs=1, decoder_dropout=0.3, head_dropout=0.3), folder=tmp_path)
    plain = smp.Linknet("tu-test_efficientnet", encoder_weights=None, in_channels=1).eval()
    plain.load_state_dict(load_file(tmp_path / WEIGHTS))
    with torch.no_grad():
        assert torch.equal(plain(image()), load_model(tmp_path).model(image()))


def test_loading_leaves_torchs_random_numbers_of_the_weights_alone(finished: Path) -> None:
    """A saved model asks for no encoder weights, wherever the trial had them from."""
    card = json.loads((finished / CARD).read_text())
    card["config"]["encoder_weights"] = "imagenet"
    (finished / CARD).write_text(json.dumps(card))
    assert load_model(finished).config.encoder_weights == "imagenet"


def test_nothing_half_written_is_left(finished: Path) -> None:
    assert sorted(path.name for path in finished.iterdir()) == sorted([LAST, WEIGHTS, CARD])


def test_no_checkpoint() -> None:
    assert load_last(Path("nowhere"), tiny()) is None


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04"])
def test_a_broken_checkpoint_is_refused(finished: Path, content: bytes) -> None:
    (finished / LAST).write_bytes(content)
    with pytest.raises(RunError, match="its checkpoint is broken"):
        load_last(finished, tiny())


def test_a_changed_bit_of_a_checkpoint_is_noticed(finished: Path) -> None:
    content = bytearray((finished / LAST).read_bytes())
    content[len(content) // 2] ^= 1  # within the weights, which no parser looks at
    (finished / LAST).write_bytes(content)
    with pytest.raises(RunError, match="its checkpoint is broken"):
        load_last(finished, tiny())


def test_something_else_than_a_checkpoint_is_refused(finished: Path) -> None:
    torch.save([1, 2], finished / LAST)
    with pytest.raises(RunError, match="its checkpoint is broken"):
        load_last(finished, tiny())


def test_the_checkpoint_of_another_configuration_is_refused(finished: Path) -> None:
    with pytest.raises(
        RunError, match=rf"another configuration \('{tiny().config_id}', not {tiny(seed=9).config_id}\)"
    ):
        load_last(finished, tiny(seed=9))


@pytest.mark.parametrize("name", [WEIGHTS, CARD])
@pytest.mark.parametrize("content", [None, b"", b"{}"])
def test_a_broken_or_missing_model_is_refused(finished: Path, name: str, content: bytes | None) -> None:
    if content is None:
        (finished / name).unlink()
    else:
        (finished / name).write_bytes(content)
    with pytest.raises(RunError, match="the saved model cannot be read: ") as error:
        load_model(finished)
    assert "\n" not in str(error.value)


def test_weights_of_another_architecture_are_refused(finished: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    trained(tiny(epochs=1, decoder="unet"), folder=other)
    (other / WEIGHTS).replace(finished / WEIGHTS)
    with pytest.raises(RunError, match="the saved model cannot be read: "):
        load_model(finished)


def test_a_kill_between_the_two_writes_is_made_good(tmp_path: Path) -> None:
    """The weights of an epoch whose state was not written yet: the epoch is trained again, to the same end."""
    config = tiny()
    trial = opened(config, folder=tmp_path)
    list(islice(rows(trial), 1))
    state = (tmp_path / LAST).read_bytes()
    list(islice(rows(trial), 3))
    expected = {path.name: path.read_bytes() for path in (tmp_path / WEIGHTS, tmp_path / CARD)}
    trial.close()
    (tmp_path / LAST).write_bytes(state)
    again = trained(config, folder=tmp_path)
    assert [row.epoch for row in again] == [1, 2, 3]
    assert (tmp_path / WEIGHTS).read_bytes() == expected[WEIGHTS]


def test_weights_other_than_the_card_was_written_for_are_refused(finished: Path) -> None:
    """One changed bit in a weight, which every other check lets pass."""
    data = bytearray((finished / WEIGHTS).read_bytes())
    data[-1] ^= 1
    (finished / WEIGHTS).write_bytes(data)
    with pytest.raises(RunError, match=r"is not the file that model\.json was written for"):
        load_model(finished)


def test_a_plugin_that_is_not_loaded_does_not_hide_what_is_wrong(finished: Path) -> None:
    card = json.loads((finished / CARD).read_text())
    card["plugins"] = [{"name": "/home/me/mine.py", "kind": "file", "sha256": "0" * 64}]
    (finished / CARD).write_text(json.dumps(card))
    load_model(finished)
    (finished / WEIGHTS).write_bytes(b"cut off")
    with pytest.raises(
        RunError, match=r"its SHA-256 differs\)\. It was made with .* add --plugin /home/me/mine\.py\.$"
    ):
        load_model(finished)


def test_a_card_of_an_earlier_version_without_a_digest_is_read(finished: Path) -> None:
    card = json.loads((finished / CARD).read_text())
    del card["sha256"]
    (finished / CARD).write_text(json.dumps(card))
    assert load_model(finished).config == tiny()


def test_one_changed_bit_of_a_state_is_found(finished: Path) -> None:
    data = bytearray((finished / LAST).read_bytes())
    data[len(data) // 2] ^= 1
    (finished / LAST).write_bytes(data)
    with pytest.raises(RunError, match="its checkpoint is broken"):
        load_last(finished, tiny())
