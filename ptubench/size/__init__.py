"""Which PTU size does a load need: what was asked, which sizes are looked at, and the answer as one JSON document."""
