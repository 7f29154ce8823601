"""What SREs see: metrics, spans and logs. Watches the request path and may never change or delay it."""
