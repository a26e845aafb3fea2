"""Plan, run and resume an experiment; the only package that knows Ray Tune."""
