"""Parts shared by the services' HTTP handlers."""
