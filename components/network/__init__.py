"""Multus, the network of the pods, the pod and its page."""
