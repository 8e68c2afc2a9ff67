"""The services as the gateway reaches them: connections, pools, load balancing and breakers."""
