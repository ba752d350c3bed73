"""What every district may use."""
