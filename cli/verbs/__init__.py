"""The verbs of `lab` that are programs of their own: one file each."""
