"""Benchmarks: the scenario by hand against `up`, and what each verb costs. Run by a person or on a schedule, never by a test."""
