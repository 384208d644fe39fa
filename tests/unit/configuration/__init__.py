"""Configuration: documents, layers, what they fold to, and who is told."""
