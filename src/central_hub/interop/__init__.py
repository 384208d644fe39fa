"""Other systems' ways of asking: thin faces on the views, no state of their own."""
