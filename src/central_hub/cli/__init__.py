"""The command line: everything a person does to a hub from a shell, and the demo platform.

Owns no state. Data goes to stdout, talk to stderr; exit codes are stable; every error ends with
the next command to try. Client commands reach the hub over HTTP and never load the server.
"""
