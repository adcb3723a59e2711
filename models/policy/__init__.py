"""What operators allow."""
