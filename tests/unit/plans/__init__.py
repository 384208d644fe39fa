"""Plans and entitlements: the catalogue, the layers above a plan, and the one answer."""
