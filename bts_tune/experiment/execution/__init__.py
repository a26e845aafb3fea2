"""Trials on Ray: the cluster, its resources, the processes of trials, retries and the final stage."""
