"""What the services' HTTP handlers share."""
