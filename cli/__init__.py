"""What `lab` does beside calling Pulumi: look at a stack, enter it, and find what stands in its way.

The Pulumi program imports nothing from here. Rooms: `stack` (outputs and settings), `kube` and `hypervisor` (what is really
there), `networks`, `duplicates` and `usage` (what follows from it for the pods' addresses), then one module per verb; `__main__`
picks the verb.
"""
