"""What a Jacobian means."""
