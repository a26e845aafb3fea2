"""Contract tests for everyone: pytest classes that each implementation, ours and a user's, inherits to be checked.

    from bts_tune.testing.losses import LossContract

    class TestMyLoss(LossContract):
        name = "my-loss"

pytest is needed here and nowhere else in the package.
"""
