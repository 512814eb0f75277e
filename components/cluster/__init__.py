"""K3s on all machines, and the Kubernetes API."""
