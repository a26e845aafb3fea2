"""Tests that every implementation of one kind must pass, ours and a user's: inherit a class and fill in its fixtures.

    from bts_tune.testing.readers import ReaderContract

    class TestMyReader(ReaderContract):
        @pytest.fixture
        def reader(self):
            return MyReader()
        …

The classes need pytest, which bts-tune itself does not: install it, and import this package in tests alone.
"""
