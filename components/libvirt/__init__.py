"""Custom resources over libvirt-python. Kept free of imports: dynamic providers load this package in their own
process.
"""
