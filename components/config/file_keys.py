"""Keys of a stack's file. Imports nothing, so that `lab` can look before it imports the settings."""

TOP_LEVEL = ("config", "secretsprovider", "encryptedkey", "encryptionsalt", "environment")
"""Those at its top level (pulumi: sdk/go/common/workspace/project.go, ProjectStack)."""
