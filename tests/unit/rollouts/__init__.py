"""Rollouts of configuration."""
