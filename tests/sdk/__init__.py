"""Tests of the SDK over real sockets."""
