"""The store on PostgreSQL: order by a lock on the head's row, row-level security, failover to another host."""
