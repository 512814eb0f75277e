"""Components of the k3s-macvlan program. Kept free of imports: dynamic providers load this package in their own process."""
