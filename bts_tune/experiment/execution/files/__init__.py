"""The files of trials: how they reach the nodes of a cluster, and where what trials keep goes."""
