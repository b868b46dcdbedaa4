"""A simulated 90-person forwarder whose agent answers shipment inquiries. See README.md.

The teacher in here is a stand-in for the frontier model; nothing else in strop's path is simulated.
"""
