"""Plans and entitlements: what a tenant's plan, add-ons, grants and overrides let it do, and why."""
