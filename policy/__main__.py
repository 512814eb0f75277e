"""Run by Pulumi with --policy-pack policy. What is checked is in rules/."""

from rules.pack import serve

serve()
