"""Plans and entitlements over HTTP."""
